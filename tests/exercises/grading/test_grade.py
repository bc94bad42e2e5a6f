"""What the sandbox returned becomes points and sentences; only numbers that are right give points."""

from __future__ import annotations

import dataclasses

import pytest

from exercises.grading import wire
from exercises.grading.grade import Reference, Result, automatic_points, failed, grade, rejected
from exercises.grading.sandbox import CellReport, Limits, Run, SandboxError
from exercises.grading.submissions import Submission
from tests.exercises.grading import samples
from tests.exercises.grading.samples import FUNCTIONS, NTK, code, filled_in

LIMITS = Limits(cpu_seconds=5)


@pytest.fixture(scope="module")
def reference():
    return Reference.compute(NTK, seed=1)


@pytest.fixture(scope="module")
def honest(reference):
    """Answers of the reference solution."""
    namespace = NTK.reference()
    return [wire.answer(call, namespace) for call in reference.calls]


def graded(reference, answers, content=None, **outcome) -> Result:
    """The result of a run that gave these answers."""
    submission = Submission("alice", NTK.slug, "2026-01-01T00:00:00Z", content or filled_in())

    def run(cells, calls, **options):
        assert options["packages"] == NTK.packages
        assert calls == reference.calls
        return Run(answers=list(answers), **outcome)

    return grade(submission, reference, LIMITS, run=run)


def replaced(reference, answers, task, answer):
    """The answers with those to one task replaced."""
    pairs = zip(reference.checks, answers, strict=True)
    return [answer if check.task == task else honest for check, honest in pairs]


def points(result: Result) -> dict[str, float]:
    return {task.id: task.score for task in result.tasks}


def test_right_answers_earn_all_points_of_the_functions(reference, honest):
    result = graded(reference, honest)
    assert (result.status, result.score, result.max_score) == ("graded", 13, 13)
    assert result.reason == "all checks passed"
    assert points(result) == {task.id: task.points * (task.kind == "code") for task in NTK.tasks.values()}
    assert result.answers["answer"].startswith("### BEGIN SOLUTION")
    assert result.submitted_at == "2026-01-01T00:00:00Z"


def test_every_check_of_a_task_is_worth_the_same(reference, honest):
    answers = list(honest)
    answers[0] = {"value": {"array": {"shape": [2], "data": [0.0, 0.0]}}}
    result = graded(reference, answers)
    assert points(result)["ntk-matrix"] == 3
    assert result.score == 12
    assert result.reason == "`ntk_matrix`: 3 of 4 checks right (wrong shape)"


@pytest.mark.parametrize(
    ("answer", "verdict"),
    [
        ({"error": "ValueError"}, "ValueError"),
        ({"undefined": True}, "undefined"),
        ({"missing": True}, "missing"),
        ({"value": {"none": True}}, "no return"),
        ({"value": {"text": "not numbers"}}, "not numbers"),
        ({"value": {"text": "right"}}, "not numbers"),
        ({"value": {"array": {"shape": [1], "data": ["right"]}}}, "not numbers"),
        ({"value": {"array": {"shape": [-1], "data": []}}}, "not numbers"),
        ({"value": {"array": {"shape": [3], "data": [None] * 3}}}, "wrong shape"),
        ({"value": {"verdict": "right"}}, "not numbers"),
        ({"value": "right"}, "not numbers"),
        ({}, "missing"),
    ],
)
def test_anything_but_the_right_numbers_is_worth_nothing(reference, honest, answer, verdict):
    result = graded(reference, replaced(reference, honest, "ntk-matrix", answer))
    assert points(result) == points(graded(reference, honest)) | {"ntk-matrix": 0}
    (task,) = (task for task in result.tasks if task.id == "ntk-matrix")
    assert set(task.verdicts) == {verdict}


def test_public_advice_of_failed_checks_is_kept_once(reference, honest):
    wrong = {"value": {"array": {"shape": [], "data": [0.0]}}}
    result = graded(reference, replaced(reference, honest, "ntk-blocks", wrong))
    (task,) = (task for task in result.tasks if task.id == "ntk-blocks")
    assert task.advice == ("The axes are (sample 1, sample 2, output 1, output 2).",)


@pytest.mark.parametrize(
    ("stopped", "sentence"),
    [
        ("cpu time", "more than 5 s of CPU time"),
        ("wall time", "took too long"),
        ("memory", "too much memory"),
        ("processes", "too many processes"),
        ("output", "too much output"),
        ("died", "ended early"),
        ("malformed", "not in the form"),
    ],
)
def test_what_was_answered_before_a_stop_counts(reference, honest, stopped, sentence):
    answers = honest[:4] + [{"missing": True}] * (len(honest) - 4)
    result = graded(reference, answers, stopped=stopped)
    assert (result.status, result.score) == ("stopped", 4)
    assert sentence in result.reason
    assert result.reason.endswith("not reached: `ntk_blocks`, `linear_prediction`, `linearization_error`")


def test_stub_that_was_left_is_not_attempted(reference, honest):
    answers = replaced(reference, honest, "ntk-blocks", {"undefined": True})
    content = filled_in({name: source for name, source in FUNCTIONS.items() if name != "ntk-blocks"})
    result = graded(reference, answers, content)
    assert result.reason == "not attempted: `ntk_blocks`"
    assert result.score == 10


def test_renamed_function_is_recognised(reference, honest):
    answers = replaced(reference, honest, "ntk-matrix", {"undefined": True})
    renamed = FUNCTIONS | {"ntk-matrix": FUNCTIONS["ntk-matrix"].replace("ntk_matrix", "ntk_matrx")}
    result = graded(reference, answers, filled_in(renamed))
    assert result.reason == "`ntk_matrix` is not defined (did you rename it? found `ntk_matrx`)"


def test_error_in_the_cell_of_a_function_is_the_reason_why_it_is_missing(reference, honest):
    answers = replaced(reference, honest, "ntk-matrix", {"undefined": True})
    content = samples.notebook([code("a = 1"), code("@cached\ndef ntk_matrix(model, x):\n    return x")])
    error = CellReport(len(NTK.setup) + 1, "NameError", "name '{cached}' is not\x1b[31m defined", 1)
    result = graded(reference, answers, content, cells=[error])
    assert result.reason == (
        "cell 2 raised NameError: name '{cached}' is not defined, so `ntk_matrix` was not defined"
    )
    assert result.cells == (CellReport(1, "NameError", "name '{cached}' is not defined", 1),)


def test_error_in_another_cell_is_named(reference, honest):
    answers = replaced(reference, honest, "ntk-matrix", {"undefined": True})
    content = samples.notebook([code("import missing")])
    result = graded(reference, answers, content, cells=[CellReport(len(NTK.setup), "ImportError", "no", 1)])
    assert "not defined: `ntk_matrix` (cell 1 raised ImportError: no)" in result.reason


def test_class_of_an_error_is_one_word(reference, honest):
    error = CellReport(len(NTK.setup), "<b>Evil\nError", "x" * 5000, 1)
    result = graded(reference, honest, cells=[error])
    assert result.cells[0].error == "bEvilError"
    assert len(result.cells[0].message) < 2100


def test_error_in_our_own_setup_and_a_broken_sandbox_are_no_ones_zero(reference, honest):
    result = graded(reference, honest, cells=[CellReport(0, "ImportError", "no kit", 1)])
    assert (result.status, result.score) == ("failed", None)

    def broken(*arguments, **options):
        raise SandboxError("no bwrap")

    submission = Submission("alice", NTK.slug, content=filled_in())
    result = grade(submission, reference, LIMITS, run=broken)
    assert (result.status, result.score) == ("failed", None)
    assert "no bwrap" in result.reason


def test_notebook_that_cannot_be_read_is_rejected_without_a_run(reference):
    submission = Submission("alice", NTK.slug, content=b"")
    result = grade(submission, reference, LIMITS, run=None)
    assert (result.status, result.score, result.max_score) == ("rejected", 0, 13)
    assert result.reason.startswith("empty file: ")


def test_result_survives_json(reference, honest):
    error = CellReport(len(NTK.setup), "ValueError", "no", None)
    result = graded(reference, [*honest[:-1], {"missing": True}], cells=[error], stopped="died")
    assert Result.from_json(result.as_json()) == result
    with pytest.raises((TypeError, KeyError)):
        Result.from_json({"student": "x"})


def test_rejected_and_failed_results_know_what_could_have_been_earned():
    submission = Submission("alice", NTK.slug, reason="wrong file name: x")
    assert rejected(submission, NTK, submission.reason).max_score == automatic_points(NTK) == 13
    assert failed(submission, NTK, "why").score is None
    assert rejected(dataclasses.replace(submission, problem=""), None, "why").max_score == 0
