"""Every problem: right attempts pass its visible checks, wrong ones fail by at least ten tolerances."""

from __future__ import annotations

import importlib

import pytest

from exercises import kit
from tests.exercises.notebooks import SOURCES, execute, grade_id, read_source, read_student, solutions


def _attempts(kind: str):
    for problem in SOURCES:
        module = importlib.import_module(f"tests.exercises.attempts.{problem.split('/')[1]}")
        for cell, functions in getattr(module, kind).items():
            for function in functions:
                yield pytest.param(problem, cell, function, id=f"{problem}-{function.__name__}")


def _run(problem: str, cell: str, attempt) -> Exception | None:
    """What a cell's checks raise in the learner's notebook: the attempt in that cell, all others solved."""
    check = f"check-{cell}"
    return execute(read_student(problem), solutions(read_source(problem)) | {cell: attempt}, until=check)[
        check
    ]


@pytest.mark.parametrize(("problem", "cell", "attempt"), list(_attempts("RIGHT")))
def test_right_attempt_passes_the_visible_and_the_hidden_checks(problem, cell, attempt):
    check = f"check-{cell}"
    assert _run(problem, cell, attempt) is None
    assert execute(read_source(problem), {cell: attempt}, until=check)[check] is None


@pytest.mark.parametrize(("problem", "cell", "attempt"), list(_attempts("WRONG")))
def test_wrong_attempt_fails_a_visible_check_by_ten_tolerances(problem, cell, attempt):
    error = _run(problem, cell, attempt)
    assert isinstance(error, kit.CheckError)
    assert error.error >= 10 * error.tolerance


@pytest.mark.parametrize("problem", SOURCES)
def test_every_solution_cell_has_checks_and_three_wrong_attempts(problem):
    module = importlib.import_module(f"tests.exercises.attempts.{problem.split('/')[1]}")
    cells = {grade_id(cell): cell.metadata["nbgrader"] for cell in read_source(problem).cells}
    for name in solutions(read_source(problem)):
        assert cells[f"check-{name}"]["points"] > 0
        assert len(module.WRONG[name]) >= 3
        assert module.RIGHT[name]


@pytest.mark.parametrize("problem", SOURCES)
def test_stubs_fail_every_check_with_not_implemented(problem):
    raised = execute(read_student(problem))
    for name in solutions(read_source(problem)):
        assert isinstance(raised[f"check-{name}"], NotImplementedError)


@pytest.mark.parametrize("problem", SOURCES)
def test_learner_notebook_runs_up_to_the_first_unsolved_cell(problem):
    raised = execute(read_student(problem))
    first = next(name for name, error in raised.items() if error is not None)
    assert first == f"check-{next(iter(solutions(read_source(problem))))}"


@pytest.mark.parametrize("problem", SOURCES)
def test_learner_notebook_with_the_solutions_runs_to_its_end(problem):
    raised = execute(read_student(problem), solutions(read_source(problem)))
    assert {name: error for name, error in raised.items() if error is not None} == {}
