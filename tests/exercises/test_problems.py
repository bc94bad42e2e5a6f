"""Every problem: right attempts pass all checks, visible and hidden; wrong ones fail both by ten tolerances."""

from __future__ import annotations

import importlib

import pytest

from exercises import kit
from exercises.grading import problem as problems
from exercises.grading import wire
from exercises.grading.compare import compare
from tests.exercises.notebooks import SOURCES, execute, read_source, read_student, solutions

SEEDS = (0, 1)
CODED = [name for name in SOURCES if solutions(read_source(name))]


def _module(problem: str):
    return importlib.import_module(f"tests.exercises.attempts.{problem.split('/')[1]}")


def _attempts(kind: str):
    for problem in CODED:
        for cell, functions in getattr(_module(problem), kind).items():
            for function in functions:
                yield pytest.param(problem, cell, function, id=f"{problem}-{function.__name__}")


def _visible(problem: str, cell: str, attempt) -> Exception | None:
    """What a cell's checks raise in the learner's notebook: the attempt in that cell, all others solved."""
    check = f"check-{cell}"
    raised = execute(read_student(problem), solutions(read_source(problem)) | {cell: attempt}, until=check)
    return raised[check]


def _hidden(problem: str, cell: str, attempt, seed: int) -> list:
    """The verdicts of a cell's hidden checks, passed through JSON as in the sandbox."""
    loaded = problems.load(problem)
    namespace = _REFERENCES.setdefault(problem, loaded.reference()) | {loaded.tasks[cell].function: attempt}
    verdicts = []
    for check, expected in zip(loaded.checks(seed), _expected(problem, seed), strict=True):
        if check.task == cell:
            answer = wire.answer(loaded.call(check), namespace)
            value = wire.decode_answer(answer["value"]) if "value" in answer else "not numbers"
            verdicts.append((compare(value, expected, check.tolerance), check.tolerance))
    return verdicts


_REFERENCES, _VALUES = {}, {}


def _expected(problem: str, seed: int) -> list:
    if (problem, seed) not in _VALUES:
        _VALUES[problem, seed] = problems.load(problem).expected(seed)
    return _VALUES[problem, seed]


@pytest.mark.parametrize(("problem", "cell", "attempt"), list(_attempts("RIGHT")))
def test_right_attempt_passes_the_visible_and_the_hidden_checks(problem, cell, attempt):
    assert _visible(problem, cell, attempt) is None
    for seed in SEEDS:
        assert [
            verdict.kind for verdict, _ in _hidden(problem, cell, attempt, seed) if not verdict.right
        ] == []


@pytest.mark.parametrize(("problem", "cell", "attempt"), list(_attempts("WRONG")))
def test_wrong_attempt_fails_a_visible_and_a_hidden_check_by_ten_tolerances(problem, cell, attempt):
    error = _visible(problem, cell, attempt)
    assert isinstance(error, kit.CheckError)
    assert error.error >= 10 * error.tolerance
    for seed in SEEDS:
        assert any(
            verdict.error >= 10 * tolerance for verdict, tolerance in _hidden(problem, cell, attempt, seed)
        )


@pytest.mark.parametrize("problem", CODED)
@pytest.mark.parametrize("seed", SEEDS)
def test_reference_solution_agrees_with_an_independent_oracle_on_the_hidden_checks(problem, seed):
    oracles, loaded = _module(problem).ORACLES, problems.load(problem)
    assert set(oracles) == {task.id for task in loaded.tasks.values() if task.kind == "code"}
    for check, expected in zip(loaded.checks(seed), _expected(problem, seed), strict=True):
        namespace = {"oracle": oracles[check.task]}
        answer = wire.answer(wire.encode_call("oracle", check.arguments, check.keywords), namespace)
        assert "value" in answer, (check.task, answer)
        verdict = compare(wire.decode_answer(answer["value"]), expected, check.tolerance)
        assert verdict.right, (check.task, verdict)


@pytest.mark.parametrize("problem", SOURCES)
def test_every_task_has_points_and_every_written_answer_a_rubric_that_adds_up(problem):
    loaded = problems.load(problem)
    written = {task.id: task.points for task in loaded.tasks.values() if task.kind == "answer"}
    assert all(task.points > 0 for task in loaded.tasks.values())
    assert {name: sum(item.points for item in lines) for name, lines in loaded.rubric.items()} == written
    assert "### BEGIN HIDDEN" not in "".join(cell.source for cell in read_source(problem).cells)


@pytest.mark.parametrize("problem", CODED)
def test_every_function_has_right_and_three_wrong_attempts(problem):
    for name in solutions(read_source(problem)):
        assert len(_module(problem).WRONG[name]) >= 3
        assert _module(problem).RIGHT[name]


@pytest.mark.parametrize("problem", CODED)
def test_other_seeds_give_other_inputs_and_the_same_seed_the_same(problem):
    loaded = problems.load(problem)
    calls = [[loaded.call(check) for check in loaded.checks(seed)] for seed in (3, 3, 4)]
    assert calls[0] == calls[1]
    assert all(one != other for one, other in zip(calls[0], calls[2], strict=True))


@pytest.mark.parametrize("problem", CODED)
def test_stubs_fail_every_check_with_not_implemented(problem):
    raised = execute(read_student(problem))
    for name in solutions(read_source(problem)):
        assert isinstance(raised[f"check-{name}"], NotImplementedError)


@pytest.mark.parametrize("problem", CODED)
def test_learner_notebook_runs_up_to_the_first_unsolved_cell(problem):
    raised = execute(read_student(problem))
    first = next(name for name, error in raised.items() if error is not None)
    assert first == f"check-{next(iter(solutions(read_source(problem))))}"


@pytest.mark.parametrize("problem", CODED)
def test_learner_notebook_with_the_solutions_runs_to_its_end(problem):
    raised = execute(read_student(problem), solutions(read_source(problem)))
    assert {name: error for name, error in raised.items() if error is not None} == {}
