"""What a student gets back: one page for each submission, without any text or number of a hidden check."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from exercises.grading import pages, tables
from exercises.grading.compare import KINDS
from exercises.grading.marks import Mark, Marks
from exercises.grading.names import safe_name
from exercises.grading.problem import Problem

if TYPE_CHECKING:
    from exercises.grading.grade import Result, TaskResult

MESSAGE = 2000  # characters of an error's message
CELLS = 50  # errors that are listed

_ADVICE = {
    "no return": "The function came to its end without <code>return</code>.",
    "not numbers": "Return a torch tensor, a numpy array or lists of numbers.",
    "wrong shape": "Compare <code>.shape</code> with the shape that the statement asks for.",
    "not finite": "Look for a division by zero, or a logarithm or root of something negative.",
    "constant factor": "A factor is missing or one too many: look at the convention of the statement.",
    "wrong sign": "Look at the order of a difference, or at the sign in front of a gradient.",
    "transposed": "Two axes have changed places: which one belongs to the first argument?",
    "undefined": "Name the function as the statement does, and run all cells from the top: does it still exist?",
    "missing": "The notebook was stopped before this check could be made.",
}
_WORDS = KINDS | {
    "undefined": "there is no function of that name",
    "missing": "not reached",
    "NotImplementedError": "not written yet",
}
_STATUS = {
    "graded": "",
    "stopped": "The notebook met a limit and was stopped; what it had answered by then counts.",
    "rejected": "The notebook was not run, so no points by checks. Please hand it in again.",
    "failed": "Something went wrong with the grading, not with your work. It will be graded again.",
}


def words(kind: str) -> str:
    """A verdict in plain words, as HTML."""
    if kind in _WORDS:
        return _WORDS[kind]
    if kind.isidentifier():  # only names of Python's own exceptions leave the sandbox
        return f"the function raised <code>{pages.line(kind)}</code>"
    return pages.line(kind)


def path(out: Path, student: str, problem: str) -> Path:
    """Where the page of one submission lies."""
    return Path(out) / "feedback" / safe_name(student) / f"{safe_name(problem)}.html"


def write(out: Path, result: Result, problem: Problem | None, marks: Marks | None = None) -> Path:
    """Write the page of one submission; ``problem`` is None where its file belongs to no problem.

    Returns its path.
    """
    target = path(out, result.student, result.problem)
    tables.replace(target, page(result, problem, marks))
    return target


def page(result: Result, problem: Problem | None, marks: Marks | None = None) -> str:
    """The text of that page."""
    marks = marks or Marks()
    title = problem.title if problem else result.problem
    parts = [f"<h1>{pages.line(title)}</h1>", f"<p>{pages.line(result.student)}</p>"]
    parts.append(_score(result, problem, marks))
    if note := _STATUS.get(result.status, ""):
        parts.append(f'<p class="bad">{note}</p>')
    if result.reason:
        parts.append(f'<div class="text">{pages.text(result.reason)}</div>')
    if result.tasks:
        parts.append(_tasks(result.tasks))
    if marks.rows and problem:
        parts.append(_marks(marks, problem))
    errors = [cell for cell in result.cells if cell.error]
    if errors:
        parts.append(_errors(errors))
    return pages.document(f"{title}: {pages.clean(result.student, pages.NAME)}", "\n".join(parts) + "\n")


def _score(result: Result, problem: Problem | None, marks: Marks) -> str:
    if result.score is None:
        return '<p class="score">No score yet</p>'
    most = problem.max_score if problem else result.max_score
    score = pages.number(result.score + marks.points)
    line = f'<p class="score"><strong>{score}</strong> of {pages.number(most)} points</p>'
    if note := marks.reason(most):
        line += f'\n<p class="soft">{pages.text(note)}</p>'
    return line


def _tasks(tasks: Iterable[TaskResult]) -> str:
    parts = [
        "<section>",
        "<h2>Functions</h2>",
        '<p class="soft">Each was called with inputs that you have not seen; every call is worth the same.</p>',
    ]
    for task in tasks:
        if task.kind == "code":
            points = f"{pages.number(task.score)} of {pages.number(task.points)} points"
            parts += [f"<h3>{pages.line(task.title)}</h3>", f"<p>{points}</p>", _found(task)]
    return "\n".join([*filter(None, parts), "</section>"])


def _found(task: TaskResult) -> str:
    """Verdicts with how often each came, and advice: what the kind suggests, and the check's own."""
    counts = Counter(task.verdicts)
    items = []
    for kind, count in counts.items():
        style, advice = ("good", "") if kind == "right" else ("bad", _ADVICE.get(kind, ""))
        often = f"{count} of {len(task.verdicts)}: " if len(task.verdicts) > 1 else ""
        items.append(f'<li><span class="{style}">{often}{words(kind)}.</span> {advice}</li>')
    items += [f"<li>{pages.text(advice)}</li>" for advice in dict.fromkeys(filter(None, task.advice))]
    return f"<ul>{''.join(items)}</ul>" if items else ""


def _marks(marks: Marks, problem: Problem) -> str:
    """Criteria with points and comments; a criterion may give the answer away, so it appears with its mark."""
    parts = ["<section>", "<h2>Written answers</h2>", '<p class="soft">Read and marked by hand.</p>']
    for task in dict.fromkeys(mark.task for mark in marks.rows):
        mine = [mark for mark in marks.rows if mark.task == task]
        parts += [f"<h3>{pages.line(problem.tasks[task].title)}</h3>", "<ul>"]
        parts += [_mark(mark) for mark in mine if mark.points is not None]
        waiting = sum(mark.max_points for mark in mine if mark.points is None)
        if waiting:
            most = sum(mark.max_points for mark in mine)
            parts.append(f"<li>Not marked yet: {pages.number(waiting)} of {pages.number(most)} points</li>")
        parts.append("</ul>")
    return "\n".join([*parts, "</section>"])


def _mark(mark: Mark) -> str:
    points = f"{pages.number(mark.points)} of {pages.number(mark.max_points)}"
    comment = f'<div class="text">{pages.text(mark.comment)}</div>' if mark.comment else ""
    return f"<li><strong>{points}:</strong> {pages.text(mark.criterion)}{comment}</li>"


def _errors(cells: list) -> str:
    lines = ["<section>", "<h2>Cells that ended with an error</h2>"]
    lines.append(
        "<p>The notebook was run from the top in a fresh Python; cells are counted from 1, Markdown cells too.</p>"
    )
    for cell in cells[:CELLS]:
        where = f", line {int(cell.line)}" if cell.line is not None else ""
        lines.append(f"<h3>Cell {int(cell.index) + 1}{where}: {pages.line(cell.error)}</h3>")
        if cell.message:
            lines.append(f'<pre class="text">{pages.text(cell.message, MESSAGE)}</pre>')
    if len(cells) > CELLS:
        lines.append(f"<p>And {len(cells) - CELLS} more.</p>")
    return "\n".join([*lines, "</section>"])
