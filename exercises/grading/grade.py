"""One submission to one result.  Nothing of the student's runs here: the sandbox returns numbers, this compares."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace

import numpy as np

from exercises.grading import notebook, pages, sandbox, similarity, wire
from exercises.grading.compare import compare
from exercises.grading.problem import Check, Problem, Task
from exercises.grading.sandbox import CellReport, Limits, Run, SandboxError
from exercises.grading.submissions import Submission

MESSAGE = 2000  # characters of an error's message that are kept
_SHORT = 160  # of those in a reason

_STOPPED = {
    "cpu time": "it used more than {limits.cpu_seconds:g} s of CPU time (an endless loop?)",
    "wall time": "it took too long (does it sleep, or wait for input?)",
    "memory": "it used too much memory",
    "processes": "it started too many processes",
    "output": "it wrote too much output",
    "died": "its process ended early (os._exit, a crash, or killed)",
    "malformed": "what it sent back was not in the form that the grader reads",
}


@dataclass(frozen=True)
class TaskResult:
    """Points of one task.  ``verdicts``: for each hidden check a kind of ``compare``, "undefined", "missing" or the
    class of the exception; ``advice``: public advice of the checks that failed."""

    id: str
    title: str
    points: float
    score: float
    kind: str
    verdicts: tuple[str, ...] = ()
    advice: tuple[str, ...] = ()


@dataclass(frozen=True)
class Result:
    """What is known of one submission.

    ``status``: "graded"; "stopped" (a limit was met or the process died: what was answered before counts);
    "rejected" (not run); "failed" (the grader's own fault: no score, and it is tried again).  ``score`` and
    ``max_score`` are those of the functions; written answers are marked by hand.  ``cells`` has the cells that
    raised, their ``index`` counted from 0 over all cells of the student's notebook.
    """

    student: str
    problem: str
    set: str
    status: str
    reason: str
    score: float | None = 0.0
    max_score: float = 0.0
    tasks: tuple[TaskResult, ...] = ()
    cells: tuple[CellReport, ...] = ()
    answers: dict[str, str] = field(default_factory=dict)
    submitted_at: str = ""
    digest: str = ""
    fingerprint: tuple[int, ...] = ()
    note: str = ""

    def as_json(self) -> dict:
        """As JSON can hold it."""
        return asdict(self)

    @classmethod
    def from_json(cls, content: dict) -> Result:
        """What ``as_json`` gave.

        Raises:
            TypeError, KeyError: something else.
        """
        tasks = [
            TaskResult(**{**task, "verdicts": tuple(task["verdicts"]), "advice": tuple(task["advice"])})
            for task in content["tasks"]
        ]
        cells = [CellReport(**cell) for cell in content["cells"]]
        changed = {"tasks": tuple(tasks), "cells": tuple(cells), "fingerprint": tuple(content["fingerprint"])}
        return cls(**{**content, **changed})


@dataclass(frozen=True)
class Reference:
    """A problem with the hidden checks of one run and what the reference solution answers."""

    problem: Problem
    checks: list[Check]
    calls: list[dict]
    expected: list[np.ndarray | list]

    @classmethod
    def compute(cls, problem: Problem, seed: int) -> Reference:
        """Draw the checks and run the reference solution: once for each problem and run."""
        checks = problem.checks(seed)
        return cls(problem, checks, [problem.call(check) for check in checks], problem.expected(seed))


def rejected(submission: Submission, problem: Problem | None, reason: str) -> Result:
    """The result of a submission that is not run."""
    return _bare(submission, problem, "rejected", reason, 0.0)


def failed(submission: Submission, problem: Problem | None, reason: str) -> Result:
    """The result when the grader could not do its work."""
    return _bare(submission, problem, "failed", f"{reason}; run the grader again", None)


def _bare(
    submission: Submission, problem: Problem | None, status: str, reason: str, score: float | None
) -> Result:
    return Result(
        student=submission.student,
        problem=submission.problem,
        set=problem.set if problem else "",
        status=status,
        reason=reason,
        score=score,
        max_score=automatic_points(problem) if problem else 0.0,
        submitted_at=submission.submitted_at,
        digest=submission.digest,
    )


def automatic_points(problem: Problem) -> float:
    """Points that functions earn."""
    return sum(task.points for task in problem.tasks.values() if task.kind == "code")


def grade(
    submission: Submission,
    reference: Reference,
    limits: Limits,
    *,
    slot: int = 0,
    sandboxed: bool = True,
    run: Callable[..., Run] = sandbox.run,
) -> Result:
    """Run one submission and give it points; its own faults become a status and a reason."""
    problem = reference.problem
    try:
        plan = notebook.plan(notebook.read(submission.content), problem)
    except notebook.NotebookError as error:
        return rejected(submission, problem, str(error))
    try:
        outcome = run(
            plan.cells,
            reference.calls,
            packages=problem.packages,
            limits=limits,
            slot=slot,
            sandboxed=sandboxed,
        )
        _check_setup(outcome, len(problem.setup))
    except SandboxError as error:
        return failed(submission, problem, f"the sandbox failed: {pages.clean(error, 500)}")
    tasks = tuple(_task(task, reference, outcome, plan) for task in problem.tasks.values())
    reason = _sentence(tasks, outcome, plan, problem)
    if outcome.stopped:
        why = _STOPPED.get(outcome.stopped, outcome.stopped).format(limits=limits)
        reason = f"stopped: {why}; checks answered before that count. {reason}"
    return replace(
        _bare(submission, problem, "stopped" if outcome.stopped else "graded", reason, 0.0),
        score=round(sum(task.score for task in tasks), 2),
        tasks=tasks,
        cells=tuple(_report(cell, plan) for cell in _errors(outcome)),
        answers=plan.answers,
        fingerprint=tuple(
            similarity.fingerprint(
                plan.cells[len(problem.setup) :], [*problem.stubs.values(), *problem.locked.values()]
            )
        ),
    )


def _check_setup(outcome: Run, count: int) -> None:
    """The problem's own cells run first, untouched by the student: an error there is ours."""
    for cell in _errors(outcome):
        if cell.index < count:
            raise SandboxError(f"the problem's set-up cell raised {cell.error}: {cell.message}")


def _errors(outcome: Run) -> list[CellReport]:
    return [cell for cell in outcome.cells if cell.error]


def _report(cell: CellReport, plan: notebook.Plan) -> CellReport:
    """An error as it is kept: the place of the cell in the student's notebook, and text that is safe to show."""
    return replace(
        cell,
        index=plan.places[cell.index],
        error=_class_name(cell),
        message=pages.clean(cell.message or "", MESSAGE),
    )


def _class_name(cell: CellReport) -> str:
    return re.sub(r"\W", "", cell.error)[:80] or "Exception"


def _task(task: Task, reference: Reference, outcome: Run, plan: notebook.Plan) -> TaskResult:
    if task.kind != "code":
        return TaskResult(task.id, task.title, task.points, 0.0, task.kind)
    verdicts, advice = [], []
    for check, expected, answer in zip(reference.checks, reference.expected, outcome.answers, strict=True):
        if check.task == task.id:
            verdicts.append(_verdict(check, expected, answer))
            if verdicts[-1] != "right" and verdicts[-1] not in ("undefined", "missing") and check.advice:
                advice.append(check.advice)
    if task.id in plan.untouched:
        verdicts = ["NotImplementedError" if kind == "undefined" else kind for kind in verdicts]
    score = round(task.points * verdicts.count("right") / len(verdicts), 2)
    return TaskResult(
        task.id, task.title, task.points, score, task.kind, tuple(verdicts), tuple(dict.fromkeys(advice))
    )


def _verdict(check: Check, expected: np.ndarray | list, answer: dict) -> str:
    """Kind of one answer; whatever the sandbox cannot honestly have sent is wrong."""
    if "value" in answer:
        try:
            return compare(wire.decode_answer(answer["value"]), expected, check.tolerance).kind
        except wire.Malformed:
            return "not numbers"
    if "error" in answer:
        return str(answer["error"])
    return "undefined" if "undefined" in answer else "missing"


def _sentence(tasks: tuple[TaskResult, ...], outcome: Run, plan: notebook.Plan, problem: Problem) -> str:
    """Why the points are what they are; functions with the same fate stand together."""
    fates: dict[str, list[str]] = {}
    for task in tasks:
        if task.kind == "code" and set(task.verdicts) != {"right"}:
            name = problem.tasks[task.id].function
            fates.setdefault(_fate(name, Counter(task.verdicts), outcome, plan, problem), []).append(
                f"`{name}`"
            )
    parts = [fate.format(", ".join(names)) for fate, names in fates.items()]
    return "; ".join(parts) or "all checks passed"


def _fate(name: str, verdicts: Counter, outcome: Run, plan: notebook.Plan, problem: Problem) -> str:
    """What became of a function, with {} for its name."""
    kinds = verdicts.keys()
    if kinds == {"undefined"}:
        return _undefined(name, outcome, plan, problem)
    if kinds == {"NotImplementedError"}:
        return "not attempted: {}"
    if kinds == {"missing"}:
        return "not reached: {}"
    found = ", ".join(sorted(kinds - {"right"}))
    return f"{{}}: {verdicts['right']} of {verdicts.total()} checks right ({found})"


def _undefined(name: str, outcome: Run, plan: notebook.Plan, problem: Problem) -> str:
    """Why a function is missing: its cell raised, it has another name, or some other cell raised."""
    errors = _errors(outcome)
    for cell in errors:
        if name in notebook.defined_names([plan.cells[cell.index]]):
            return f"{_raised(cell, plan)}, so {{}} was not defined"
    others = {task.function for task in problem.tasks.values()}
    names = [
        found for found in notebook.defined_names(plan.cells[len(problem.setup) :]) if found not in others
    ]
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.7)
    if close:
        return f"{{}} is not defined (did you rename it? found `{pages.clean(close[0], 60)}`)"
    return f"not defined: {{}} ({_raised(errors[0], plan)})" if errors else "not defined: {}"


def _raised(cell: CellReport, plan: notebook.Plan) -> str:
    """An error in a few words, as a template without fields."""
    text = " ".join(pages.clean(cell.message or "", _SHORT).split()).replace("{", "{{").replace("}", "}}")
    return f"cell {plan.places[cell.index] + 1} raised {_class_name(cell)}{': ' * bool(text)}{text}"
