"""What learners get: derived from the source, complete, and without anything that gives the answer away."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from exercises import release
from tests.exercises.notebooks import SOURCES, read_source, read_student, solutions

FLAGS = {
    "schema_version": 3,
    "grade_id": "a",
    "grade": False,
    "solution": False,
    "locked": False,
    "task": False,
}


def _notebook(source: str, cell=new_code_cell, **flags) -> nbformat.NotebookNode:
    return new_notebook(cells=[cell(source, metadata={"nbgrader": FLAGS | flags})])


def _released(source: str, cell=new_code_cell, **flags) -> str:
    return release.learner_notebook(_notebook(source, cell, **flags)).cells[0].source


def test_release_is_up_to_date():
    command = [sys.executable, "-m", "exercises.release", "--check"]
    result = subprocess.run(command, cwd=release.ROOT.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"run `make release`\n{result.stdout}{result.stderr}"


def test_check_says_which_file_is_out_of_date_and_writes_nothing(tmp_path, monkeypatch, capsys):
    (tmp_path / "source" / "set").mkdir(parents=True)
    for name in ("ROOT", "SOURCE", "STUDENT"):
        monkeypatch.setattr(
            release, name, tmp_path / {"ROOT": "", "SOURCE": "source", "STUDENT": "student"}[name]
        )
    source = tmp_path / "source" / "set" / "problem.ipynb"
    nbformat.write(_notebook("### BEGIN SOLUTION\n1\n### END SOLUTION", solution=True), source)

    assert release.main(["--check"]) == 1
    assert "student/set/problem.ipynb" in capsys.readouterr().out
    assert not release.student_path(source).exists()
    assert release.main([]) == 0
    first = release.student_path(source).read_bytes()
    assert release.main(["--check"]) == release.main([]) == 0
    assert release.student_path(source).read_bytes() == first

    source.unlink()
    assert release.main(["--check"]) == 1
    assert "without a source" in capsys.readouterr().out


def _secrets(source: nbformat.NotebookNode) -> set[str]:
    """All lines of solutions and hidden tests that say something (a closing bracket does not)."""
    lines = set()
    for cell in source.cells:
        for region in re.findall(
            r"### BEGIN (?:SOLUTION|HIDDEN TESTS)\n(.*?)### END", cell.source, re.DOTALL
        ):
            lines |= {line.strip() for line in region.split("\n") if len(line.strip()) > 15}
    return lines


@pytest.mark.parametrize("problem", SOURCES)
def test_learner_notebook_holds_no_line_of_a_solution_or_a_hidden_test(problem):
    source = read_source(problem)
    student = read_student(problem)
    secrets = _secrets(source)
    shown = {line.strip() for cell in student.cells for line in cell.source.split("\n")}
    also_stated = {line.strip() for cell in source.cells for line in _without_regions(cell.source)}
    assert len(secrets) > 10
    assert (secrets & shown) <= also_stated
    text = json.dumps(student)
    assert "### BEGIN" not in text
    assert "### END" not in text
    assert "ntklab" not in "".join(cell.source for cell in student.cells if cell.cell_type == "code")


def _without_regions(text: str) -> list[str]:
    return re.sub(r"### BEGIN (SOLUTION|HIDDEN TESTS)\n.*?### END", "", text, flags=re.DOTALL).split("\n")


@pytest.mark.parametrize("problem", SOURCES)
def test_learner_notebook_is_valid_empty_of_outputs_and_keeps_the_cells(problem):
    source, student = read_source(problem), read_student(problem)
    nbformat.validate(student)
    assert [cell.id for cell in student.cells] == [cell.id for cell in source.cells]
    for cell in student.cells:
        if cell.cell_type == "code":
            assert cell.outputs == []
            assert cell.execution_count is None
            compile(cell.source, cell.id, "exec")


@pytest.mark.parametrize("problem", SOURCES)
def test_statement_says_what_a_learner_wants_to_know_first(problem):
    student = read_student(problem)
    for heading in ("Difficulty", "Time", "You will learn", "You need"):
        assert f"**{heading}**" in student.cells[0].source
    assert sum(cell.source.count("<details>") for cell in student.cells) >= 3
    targets = [cell for cell in student.cells if "attachments" in cell]
    assert len(targets) == 1
    assert re.search(r"!\[[^\]]{60,}\]\(attachment:target.png\)", targets[0].source), "needs a real alt text"


def test_stub_stands_at_the_indentation_of_the_mark():
    text = "def f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n"
    assert (
        _released(text, solution=True) == "def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()\n"
    )


def test_solution_without_marks_is_replaced_as_a_whole():
    assert _released("x = 1", solution=True) == "# YOUR CODE HERE\nraise NotImplementedError()"
    assert _released("Because.", new_markdown_cell, solution=True, grade=True, points=1) == "YOUR ANSWER HERE"


def test_hidden_tests_leave_the_visible_ones():
    text = "assert a\n### BEGIN HIDDEN TESTS\nassert b\n### END HIDDEN TESTS\nassert c"
    assert _released(text, grade=True, locked=True, points=1) == "assert a\nassert c"


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("### BEGIN SOLUTION", {"solution": True}, "without"),
        ("### END SOLUTION", {"solution": True}, "unbalanced"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", {"solution": True}, "unbalanced"),
        ("### BEGIN SOLUTION\n1\n### END SOLUTION", {}, "does not belong"),
        ("### BEGIN HIDDEN TESTS\n1\n### END HIDDEN TESTS", {"locked": True}, "does not belong"),
        ("1", {"grade": True}, "points"),
        ("1", {"points": 1}, "points"),
        ("1", {"locked": "yes"}, "locked must be bool"),
        ("1", {"schema_version": 2}, "schema_version must be 3"),
    ],
)
def test_a_source_that_would_leak_or_confuse_nbgrader_is_refused(source, flags, message):
    with pytest.raises(ValueError, match=message):
        release.learner_notebook(_notebook(source, **flags))


def test_a_grade_id_used_twice_is_refused():
    notebook = _notebook("1")
    notebook.cells.append(new_code_cell("2", metadata={"nbgrader": dict(FLAGS)}))
    with pytest.raises(ValueError, match="'a' is used twice"):
        release.learner_notebook(notebook)


def test_marks_in_a_cell_without_metadata_are_refused():
    notebook = new_notebook(cells=[new_code_cell("### BEGIN SOLUTION\n1\n### END SOLUTION")])
    with pytest.raises(ValueError, match="does not belong"):
        release.learner_notebook(notebook)


def test_target_figure_of_the_statement_is_the_one_the_solution_draws():
    for problem in SOURCES:
        notebook = read_source(problem)
        attachment = next(cell.attachments for cell in notebook.cells if "attachments" in cell)
        drawn = [
            output.data["image/png"]
            for cell in notebook.cells
            if "target-figure" in cell.metadata.get("tags", [])
            for output in cell.outputs
        ]
        assert [attachment["target.png"]["image/png"]] == [png.replace("\n", "") for png in drawn]


@pytest.mark.parametrize("problem", SOURCES)
def test_solution_in_the_book_is_that_of_the_notebook(problem):
    name = problem.split("/")[1]
    (page,) = (release.ROOT.parent / "book").rglob(f"_exercise_{name}.md")
    printed = {
        block.strip() for block in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.DOTALL)
    }
    written = {
        _without_docstring_and_marks(text).strip() for text in solutions(read_source(problem)).values()
    }
    assert printed
    assert printed <= written


def _without_docstring_and_marks(text: str) -> str:
    text = re.sub(r' *""".*?"""\n', "", text, flags=re.DOTALL)
    return re.sub(r" *### (BEGIN|END) SOLUTION\n?", "", text)


@pytest.mark.parametrize("problem", SOURCES)
def test_downloads_of_the_statement_exist(problem):
    (page,) = (release.ROOT.parent / "book").rglob(f"_exercise_{problem.split('/')[1]}.md")
    links = re.findall(r"\{download\}`[^`]*<([^`>]*)>`", page.read_text("utf-8"))
    targets = {(page.parent / link).resolve() for link in links}
    assert targets == {SOURCES[problem], release.student_path(SOURCES[problem])}
