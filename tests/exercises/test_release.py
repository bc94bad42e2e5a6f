"""What learners get: derived from the source, complete, and without anything that gives the answer away."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from exercises import release
from exercises.grading import problem as problems
from tests.exercises.notebooks import SOURCES, read_source, read_student, solutions

FLAGS = {
    "schema_version": 3,
    "grade_id": "a",
    "grade": False,
    "solution": False,
    "locked": False,
    "task": False,
}


LEVELS = ("basic", "intermediate", "hard", "research")
WITH_CODE = [problem for problem in SOURCES if solutions(read_source(problem))]


def _notebook(source: str, cell=new_code_cell, **flags) -> nbformat.NotebookNode:
    """One cell; a function to write is followed by its cell of checks."""
    notebook = new_notebook(cells=[cell(source, metadata={"nbgrader": FLAGS | flags})])
    if cell is new_code_cell and flags.get("solution"):
        checks = FLAGS | {"grade_id": "check-a", "grade": True, "locked": True, "points": 1}
        notebook.cells.append(new_code_cell("f()", metadata={"nbgrader": checks}))
    return notebook


def _released(source: str, cell=new_code_cell, **flags) -> str:
    return release.learner_notebook(_notebook(source, cell, **flags)).cells[0].source


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """A course with an empty set."""
    for name, folder in (("ROOT", ""), ("SOURCE", "source"), ("STUDENT", "student")):
        monkeypatch.setattr(release, name, tmp_path / folder)
    (tmp_path / "source" / "set").mkdir(parents=True)
    return tmp_path


def test_release_is_up_to_date():
    command = [sys.executable, "-m", "exercises.release", "--check"]
    result = subprocess.run(command, cwd=release.ROOT.parent, capture_output=True, text=True, check=False)
    assert result.returncode == 0, f"run `make release`\n{result.stdout}{result.stderr}"


def test_check_says_which_file_is_out_of_date_and_writes_nothing(folders, capsys):
    source = folders / "source" / "set" / "problem.ipynb"
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


def test_a_problem_is_released_by_its_name_alone(folders, capsys):
    for name in ("one", "two"):
        nbformat.write(_notebook("1"), folders / "source" / "set" / f"{name}.ipynb")

    assert release.main(["set/one"]) == 0
    assert [path.name for path in (folders / "student" / "set").iterdir()] == ["one.ipynb"]
    with pytest.raises(SystemExit):
        release.main(["three"])
    assert "there are set/one, set/two" in capsys.readouterr().err


def test_a_broken_source_is_named_and_the_others_are_released(folders, capsys):
    nbformat.write(
        _notebook("### BEGIN SOLUTION", solution=True), folders / "source" / "set" / "broken.ipynb"
    )
    nbformat.write(_notebook("1"), folders / "source" / "set" / "right.ipynb")

    assert release.main([]) == 1
    assert "set/broken.ipynb: cell" in capsys.readouterr().err
    assert [path.name for path in (folders / "student" / "set").iterdir()] == ["right.ipynb"]


def _long(lines) -> set[str]:
    """Lines that say something (a closing bracket does not)."""
    return {line.strip() for line in lines if len(line.strip()) > 15}


def _solved(source: nbformat.NotebookNode) -> set[str]:
    """All lines of solutions."""
    regions = (re.findall(REGION, cell.source, re.DOTALL) for cell in source.cells)
    return _long(line for found in regions for region in found for line in region.split("\n"))


def _hidden(problem: str) -> set[str]:
    """All lines of the functions in the hidden module, and the texts of its rubric."""
    text = SOURCES[problem].with_suffix(".py").read_text("utf-8")
    lines, found = text.split("\n"), set()
    for node in ast.parse(text).body:
        if isinstance(node, ast.FunctionDef):
            found |= _long(lines[node.lineno : node.end_lineno])
        elif isinstance(node, ast.Assign):
            constants = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
            found |= _long(value for value in constants if isinstance(value, str))
    return found


REGION = r"### BEGIN SOLUTION\n(.*?)### END SOLUTION"


@pytest.mark.parametrize("problem", SOURCES)
def test_learner_notebook_holds_no_line_of_a_solution(problem):
    source, student = read_source(problem), read_student(problem)
    secrets = _solved(source)
    shown = {line.strip() for cell in student.cells for line in cell.source.split("\n")}
    stated = (re.sub(REGION, "", cell.source, flags=re.DOTALL).split("\n") for cell in source.cells)
    assert len(secrets) > 10
    assert (secrets & shown) <= {line.strip() for lines in stated for line in lines}
    text = json.dumps(student)
    assert "### BEGIN" not in text
    assert "### END" not in text
    assert "ntklab" not in "".join(cell.source for cell in student.cells if cell.cell_type == "code")


@pytest.mark.parametrize("problem", SOURCES)
def test_no_notebook_holds_a_line_of_a_hidden_check_or_of_the_rubric(problem):
    hidden = _hidden(problem)
    assert hidden
    for notebook in (read_source(problem), read_student(problem)):
        assert hidden.isdisjoint(line.strip() for cell in notebook.cells for line in cell.source.split("\n"))


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
    facts = dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+) \|$", student.cells[0].source, re.MULTILINE))
    assert facts["Difficulty"] in LEVELS
    assert re.match(r"[\d.]+( to [\d.]+)? (minutes|hours?)\b", facts["Time"])
    assert len(facts["You will learn"]) > 40
    assert len(facts["You need"]) > 10
    assert sum(cell.source.count("<details>") for cell in student.cells) >= 3


@pytest.mark.parametrize("problem", SOURCES)
def test_target_is_shown_beforehand(problem):
    """A figure with a text that describes it; where there is no code, a sentence."""
    cells = read_student(problem).cells
    if solutions(read_source(problem)):
        (target,) = (cell for cell in cells if "attachments" in cell)
        assert re.search(r"!\[[^\]]{60,}\]\(attachment:target.png\)", target.source), "needs a real alt text"
    else:
        assert any(re.search(r"\*\*Target\.\*\* .{60,}", cell.source) for cell in cells)


@pytest.mark.parametrize("problem", SOURCES)
def test_points_in_the_statement_are_those_of_the_cells(problem):
    student, loaded = read_student(problem), problems.load(problem)
    said = re.search(r"^\| \*\*Points\*\* \| (.+) \|$", student.cells[0].source, re.MULTILINE)[1]
    points = {
        kind: sum(task.points for task in loaded.tasks.values() if task.kind == kind)
        for kind in ("code", "answer")
    }
    assert [float(number) for number in re.findall(r"\d+(?:\.\d+)?", said)] == [
        n for n in points.values() if n
    ]


@pytest.mark.parametrize("problem", SOURCES)
def test_rubric_gives_the_points_of_every_written_answer(problem):
    loaded = problems.load(problem)
    answers = {task.id: task.points for task in loaded.tasks.values() if task.kind == "answer"}
    assert {name: sum(c.points for c in criteria) for name, criteria in loaded.rubric.items()} == answers


def test_stub_stands_at_the_indentation_of_the_mark():
    text = "def f(x):\n    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n"
    assert (
        _released(text, solution=True) == "def f(x):\n    # YOUR CODE HERE\n    raise NotImplementedError()\n"
    )


def test_solution_without_marks_is_replaced_as_a_whole():
    assert _released("x = 1", solution=True) == "# YOUR CODE HERE\nraise NotImplementedError()"
    assert _released("Because.", new_markdown_cell, solution=True, grade=True, points=1) == "YOUR ANSWER HERE"


def test_hidden_tests_are_refused_and_the_right_place_is_named():
    text = "assert a\n### BEGIN HIDDEN TESTS\nassert b\n### END HIDDEN TESTS\nassert c"
    with pytest.raises(ValueError, match=r"checks\(rng\) of the module"):
        _released(text, grade=True, locked=True, points=1)


@pytest.mark.parametrize(
    ("source", "flags", "message"),
    [
        ("### BEGIN SOLUTION", {"solution": True}, "without"),
        ("### END SOLUTION", {"solution": True}, "unbalanced"),
        ("### BEGIN SOLUTION\n### BEGIN SOLUTION\n### END SOLUTION", {"solution": True}, "unbalanced"),
        ("### BEGIN SOLUTION\n1\n### END SOLUTION", {}, "does not belong"),
        ("### BEGIN HIDDEN TESTS\n1\n### END HIDDEN TESTS", {"locked": True}, "hidden checks do not belong"),
        ("1", {"grade": True}, "points"),
        ("1", {"points": 1}, "points"),
        ("1", {"locked": "yes"}, "locked must be bool"),
        ("1", {"schema_version": 2}, "schema_version must be 3"),
    ],
)
def test_a_source_that_would_leak_or_confuse_nbgrader_is_refused(source, flags, message):
    with pytest.raises(ValueError, match=message):
        release.learner_notebook(_notebook(source, **flags))


def test_a_function_without_checks_and_an_answer_without_points_are_refused():
    alone = new_notebook(cells=_notebook("def a(): ...", solution=True).cells[:1])
    with pytest.raises(ValueError, match="'check-a'"):
        release.learner_notebook(alone)
    with pytest.raises(ValueError, match="needs points"):
        _released("Because.", new_markdown_cell, solution=True)


@pytest.mark.parametrize("flags", [{}, {"solution": True}, {"locked": True, "grade": True, "points": 1}])
def test_only_locked_code_without_points_may_be_setup(flags):
    notebook = _notebook("import numpy", **flags)
    notebook.cells[0].metadata.tags = ["setup"]
    with pytest.raises(ValueError, match="the tag 'setup'"):
        release.learner_notebook(notebook)
    notebook = _notebook("import numpy", locked=True)
    notebook.cells[0].metadata.tags = ["setup"]
    assert release.learner_notebook(notebook).cells[0].source == "import numpy"


def test_a_grade_id_used_twice_is_refused():
    notebook = _notebook("1")
    notebook.cells.append(new_code_cell("2", metadata={"nbgrader": dict(FLAGS)}))
    with pytest.raises(ValueError, match="'a' is used twice"):
        release.learner_notebook(notebook)


def test_marks_in_a_cell_without_metadata_are_refused():
    notebook = new_notebook(cells=[new_code_cell("### BEGIN SOLUTION\n1\n### END SOLUTION")])
    with pytest.raises(ValueError, match="does not belong"):
        release.learner_notebook(notebook)


@pytest.mark.parametrize("problem", WITH_CODE)
def test_target_figure_of_the_statement_is_the_one_the_solution_draws(problem):
    notebook = read_source(problem)
    attachment = next(cell.attachments for cell in notebook.cells if "attachments" in cell)
    drawn = [
        output.data["image/png"]
        for cell in notebook.cells
        if "target-figure" in cell.metadata.get("tags", [])
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    assert [attachment["target.png"]["image/png"]] == [png.replace("\n", "") for png in drawn]
