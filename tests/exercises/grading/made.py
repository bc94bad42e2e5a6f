"""Results as the grader makes them, and texts that attack whoever shows them."""

from __future__ import annotations

from exercises.grading import problem, similarity
from exercises.grading.grade import Result, TaskResult
from exercises.grading.sandbox import CellReport

PROBLEM = problem.load("ntk_matrix")
PROBLEMS = {PROBLEM.slug: PROBLEM}
CRITERIA = PROBLEM.rubric["answer"]

ATTACKS = {
    "markup": "<b>bold</b><img src=x onerror=alert(1)>",
    "script": "<script>alert(1)</script>",
    "end of style": "</style></title></main><script>alert(1)</script>",
    "quotes": "\"' onmouseover=alert(1) x='",
    "entity": "&lt;script&gt;&#x3c;script&#x3e;",
    "link": "javascript:alert(1) [x](javascript:alert(1)) <a href='javascript:alert(1)'>x</a>",
    "ansi": "\x1b[31mred\x1b[0m \x1b]8;;http://evil.example\x07link\x1b]8;;\x07 \x9b31m",
    "bidi": "\u202eevil\u202c \u2066x\u2069 \u200fx\ufeff",
    "control": "nul\x00 bell\x07 back\x08\x08 form\x0c line\u2028 del\x7f c1\x85",
    "surrogate": "\ud800 lone \udfff",
    "stacked": "z" + "\u0335\u0321\u0489" * 100,
    "comment": "--> <!-- <![CDATA[ ]]>",
    "long": "<" * 1_000_000,
}


def solution_cells() -> list[str]:
    """Sources of the model solution's functions."""
    return [
        cell.source
        for cell in PROBLEM.notebook.cells
        if cell.cell_type == "code" and cell.metadata.nbgrader.solution
    ]


def made_task(task, verdicts=("right", "right"), score=None, advice=()):
    """The outcome of one task."""
    share = sum(verdict == "right" for verdict in verdicts) / max(1, len(verdicts))
    score = (round(task.points * share, 2) if task.kind == "code" else 0.0) if score is None else score
    verdicts = verdicts if task.kind == "code" else ()
    return TaskResult(task.id, task.title, task.points, score, task.kind, tuple(verdicts), tuple(advice))


def made_cell(error=None, message="", index=3, line=2):
    """What the sandbox reports of one cell."""
    return CellReport(index, error, message, line)


def made_result(
    student="student01",
    *,
    verdicts=("right", "right"),
    advice=(),
    answer="Because.",
    cells=(),
    code=None,
    **given,
):
    """The result of one submission of the NTK-matrix problem; every task has the same verdicts."""
    tasks = tuple(made_task(task, verdicts, advice=advice) for task in PROBLEM.tasks.values())
    values = dict(
        student=student,
        problem=PROBLEM.slug,
        set=PROBLEM.set,
        status="graded",
        reason="",
        score=sum(task.score for task in tasks),
        max_score=13.0,
        tasks=tasks,
        cells=tuple(cells),
        answers={"answer": answer} if answer else {},
        submitted_at="2026-01-31T12:00:00Z",
        digest="",
        fingerprint=tuple(similarity.fingerprint(code, PROBLEM.stubs.values())) if code else (),
    )
    return Result(**(values | given))
