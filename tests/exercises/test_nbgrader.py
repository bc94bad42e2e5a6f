"""Users of nbgrader feel at home: its commands release, validate and autograde the sources, and take marks by hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat import NotebookNode
from traitlets.config.loader import PyFileConfigLoader

from exercises import release
from tests.exercises.notebooks import SOURCES, grade_id, read_source, read_student

PROBLEM = "definition/ntk_matrix"
SET, SLUG = PROBLEM.split("/")
BIN = Path(sys.executable).parent  # nbgrader starts alembic and jupyter by their names


@pytest.fixture(scope="module")
def environment():
    """Variables with the commands of this Python first on the path."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{BIN}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("OMP_NUM_THREADS", "1")
        yield dict(os.environ)


def make_course(root: Path) -> Path:
    """A copy of the folder of exercises, as nbgrader would find it."""
    folder = root / "exercises"
    folder.mkdir(parents=True)
    for name in ("__init__.py", "kit.py", "nbgrader_config.py"):
        shutil.copy(release.ROOT / name, folder)
    shutil.copytree(release.SOURCE, folder / "source", ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def without_experiments(notebook: NotebookNode) -> NotebookNode:
    """The notebook without the locked code that earns no points: it takes most of the time."""

    def stays(cell: NotebookNode) -> bool:
        flags = cell.metadata.get("nbgrader", {})
        setup = release.SETUP in cell.metadata.get("tags", [])
        return cell.cell_type == "markdown" or flags["grade"] or flags["solution"] or setup

    notebook.cells = [cell for cell in notebook.cells if stays(cell)]
    return notebook


@pytest.fixture(scope="module")
def api(tmp_path_factory, environment):
    """nbgrader on a course whose problem has no experiments."""
    from nbgrader.apps.api import NbGraderAPI
    from nbgrader.coursedir import CourseDirectory

    folder = make_course(tmp_path_factory.mktemp("quick"))
    source = folder / "source" / f"{PROBLEM}.ipynb"
    nbformat.write(without_experiments(read_source(PROBLEM)), source)
    for path in source.parent.glob("*.ipynb"):
        if path != source:
            path.unlink()
    config = PyFileConfigLoader("nbgrader_config.py", path=str(folder)).load_config()
    return NbGraderAPI(CourseDirectory(config=config), config=config)


def done(result: dict) -> None:
    """Show nbgrader's log where one of its steps failed."""
    assert result["success"], result["log"]


def flags(cell: NotebookNode) -> dict:
    """nbgrader's metadata apart from the checksum, which only its own release has."""
    kept = dict(cell.metadata.get("nbgrader", {}))
    kept.pop("checksum", None)
    return kept


def test_generate_assignment_gives_the_cells_of_our_release_and_nothing_hidden(tmp_path, environment):
    course = make_course(tmp_path)
    (course / "source" / "all").mkdir()  # one assignment of all problems: the command takes long to start
    for path in course.glob("source/*/*.*"):
        path.rename(course / "source" / "all" / path.name)
    result = subprocess.run(
        [BIN / "nbgrader", "generate_assignment", "all"],
        cwd=course,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr

    released = {path.name for path in (course / "release").rglob("*") if path.is_file()}
    assert released == {path.name for path in SOURCES.values()}
    for problem, path in SOURCES.items():
        theirs = nbformat.read(course / "release" / "all" / path.name, as_version=4).cells
        ours = read_student(problem).cells
        assert [cell.source for cell in theirs] == [cell.source for cell in ours]
        assert [flags(cell) for cell in theirs] == [flags(cell) for cell in ours]
        assert [cell.get("outputs", []) for cell in theirs] == [cell.get("outputs", []) for cell in ours]


def test_validate_passes_the_solution_and_fails_the_stubs(api, tmp_path):
    from nbgrader.validator import Validator

    course = Path(api.coursedir.root)
    solution = course / "source" / f"{PROBLEM}.ipynb"
    stubs = course / f"{SLUG}.ipynb"
    nbformat.write(release.learner_notebook(nbformat.read(solution, as_version=4)), stubs)

    assert Validator().validate(str(solution)) == {}
    failed = Validator().validate(str(stubs))["failed"]
    checks = [cell for cell in read_source(PROBLEM).cells if (grade_id(cell) or "").startswith("check-")]
    graded = [cell.source for cell in checks if cell.metadata.nbgrader.grade]
    assert [cell["source"].strip() for cell in failed][: len(graded)] == graded
    assert "NotImplementedError" in failed[0]["error"]


def test_autograde_takes_marks_by_hand_and_gives_feedback(api):
    done(api.generate_assignment(SET))
    course = Path(api.coursedir.root)
    for student in ("ada", "emmy"):
        submitted = course / "submitted" / student / SET / f"{SLUG}.ipynb"
        submitted.parent.mkdir(parents=True)
        shutil.copy(course / ("source" if student == "ada" else "release") / f"{PROBLEM}.ipynb", submitted)
        done(api.autograde(SET, student))

    answer = next(
        grade_id(cell)
        for cell in read_source(PROBLEM).cells
        if cell.cell_type == "markdown" and flags(cell)["grade"]
    )
    with api.gradebook as gradebook:
        by_checks, possible = scores(gradebook, "ada")
        assert 0 < by_checks < possible
        assert scores(gradebook, "emmy") == (0, possible)
        grade = gradebook.find_grade(answer, SLUG, SET, "ada")
        assert grade.needs_manual_grade
        grade.manual_score, grade.needs_manual_grade = 2.5, False
        gradebook.find_comment(answer, SLUG, SET, "ada").manual_comment = "Where does the third order go?"
        gradebook.db.commit()
        assert scores(gradebook, "ada") == (by_checks + 2.5, possible)

    done(api.generate_feedback(SET, "ada"))
    page = (course / "feedback" / "ada" / SET / f"{SLUG}.html").read_text("utf-8")
    assert "Where does the third order go?" in page
    assert f"Score: {by_checks + 2.5} / {possible}" in page


def scores(gradebook, student: str) -> tuple[float, float]:
    """Points that a student has, and all there are."""
    submission = gradebook.find_submission(SET, student)
    return submission.score, submission.max_score
