"""One page for the instructor: scores, how hard each task was, common errors, work that is alike, what is left to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, median
from typing import TYPE_CHECKING

from exercises.grading import feedback, pages, similarity, tables
from exercises.grading.marks import Marks
from exercises.grading.problem import Problem

if TYPE_CHECKING:
    from exercises.grading.grade import Result, TaskResult

NAME = "summary.html"
BINS = 10
COMMON = 5  # errors that are named for one task
MODEL = "\0model solution"  # stands among the students' names; no name has a control character
_NOT_TRIED = {"NotImplementedError", "undefined", "missing"}

STYLE = """
svg { display: block; width: 100%; max-width: 36rem; height: auto; }
svg text { fill: var(--ink); font: 12px system-ui, sans-serif; }
svg rect { fill: var(--bar); }
svg line { stroke: var(--soft); }
.meter { display: inline-block; width: 6rem; height: .7rem; background: var(--box); border: 1px solid var(--line); }
.meter span { display: block; height: 100%; background: var(--bar); }
"""


@dataclass
class _Item:
    """What is counted for one task."""

    tried: int = 0
    shares: list[float] = field(default_factory=list)
    verdicts: Counter = field(default_factory=Counter)  # kind -> students who met it


@dataclass
class _Tally:
    """What is counted for one problem: numbers and names, never a submission."""

    statuses: Counter = field(default_factory=Counter)
    shares: list[float] = field(default_factory=list)
    items: dict[str, _Item] = field(default_factory=dict)
    errors: Counter = field(default_factory=Counter)  # class -> students
    prints: list[tuple[str, list[int]]] = field(default_factory=list)
    words: list[tuple[str, list[int]]] = field(default_factory=list)
    waiting: list[tuple[str, str]] = field(default_factory=list)
    others: list[tuple[str, str, str]] = field(default_factory=list)

    def add(self, result: Result, problem: Problem | None, marks: Marks) -> None:
        self.statuses[result.status] += 1
        if result.status != "graded":
            self.others.append((result.student, result.status, result.reason))
        most = problem.max_score if problem else result.max_score
        if result.score is not None and most:
            self.shares.append(min(1.0, (result.score + marks.points) / most))
        if note := marks.reason(most or 0):
            self.waiting.append((result.student, note))
        if result.status in ("graded", "stopped"):
            for task in result.tasks:
                self._add_task(task, result, problem, marks)
            self.errors.update({cell.error for cell in result.cells if cell.error})
            self.prints.append((result.student, result.fingerprint))
            self.words.append((result.student, similarity.text_fingerprint(result.answers.values())))

    def _add_task(self, task: TaskResult, result: Result, problem: Problem | None, marks: Marks) -> None:
        item = self.items.setdefault(task.id, _Item())
        if task.kind == "code":
            tried, score = any(kind not in _NOT_TRIED for kind in task.verdicts), task.score
            item.verdicts.update({kind for kind in task.verdicts if kind != "right"})
        else:
            rows = [mark for mark in marks.rows if mark.task == task.id]
            tried = any(mark.submission != "empty" for mark in rows)
            if any(mark.points is None for mark in rows):
                item.tried += tried
                return
            score = sum(mark.points for mark in rows)
        item.tried += tried
        item.shares.append(score / task.points if task.points else 1.0)


def write(
    out: Path,
    results: Iterable[Result],
    problems: Mapping[str, Problem],
    marks: Mapping[tuple[str, str], Marks] | None = None,
    notes: Iterable[str] = (),
) -> Path:
    """Write ``OUT/summary.html``; each result is looked at once and not kept.

    marks: what ``marks.merge`` returned
    notes: lines of plain text to stand first, such as students who are not on the roster
    """
    marks = marks or {}
    tallies: dict[str, _Tally] = {}
    for result in results:
        tally = tallies.setdefault(result.problem, _Tally())
        tally.add(result, problems.get(result.problem), marks.get((result.student, result.problem), Marks()))
    parts = ["<h1>Summary of the submissions</h1>"]
    if notes := [f"<li>{pages.text(note)}</li>" for note in notes]:
        parts.append(f"<section><h2>To look at</h2>\n<ul>{''.join(notes)}</ul></section>")
    if len(tallies) > 1:
        parts.append(_overview(tallies, problems))
    if not tallies:
        parts.append("<p>There are no submissions.</p>")
    for slug in sorted(tallies):
        parts.append(_problem(slug, tallies[slug], problems.get(slug)))
    path = Path(out) / NAME
    tables.replace(path, pages.document("Summary of the submissions", "\n".join(parts) + "\n", style=STYLE))
    return path


def _overview(tallies: Mapping[str, _Tally], problems: Mapping[str, Problem]) -> str:
    rows = []
    for slug, tally in sorted(tallies.items()):
        title = problems[slug].title if slug in problems else slug
        middle = f"{100 * median(tally.shares):.0f} %" if tally.shares else ""
        link = (
            f'<a href="#{pages.line(slug)}">{pages.line(title)}</a>'
            if slug in problems
            else pages.line(title)
        )
        rows.append(
            (
                link,
                str(tally.statuses.total()),
                str(tally.statuses["graded"]),
                middle,
                str(len(tally.waiting)),
            )
        )
    header = ("Problem", "Submissions", "Graded", "Median score", "Await marks")
    return "<section>\n<h2>All problems</h2>\n" + pages.table(header, rows, "", [1, 2, 3, 4]) + "\n</section>"


def _problem(slug: str, tally: _Tally, problem: Problem | None) -> str:
    title = problem.title if problem else slug
    counts = ", ".join(f"{count} {status}" for status, count in sorted(tally.statuses.items()))
    parts = [f'<section>\n<h2 id="{pages.line(slug)}">{pages.line(title)}</h2>', f"<p>{counts}.</p>"]
    if tally.shares:
        parts.append(_distribution(tally.shares, problem))
    if problem:
        parts += [_items(tally, problem), _errors(tally), _alike(tally, problem)]
    parts.append(_list("Not graded in the ordinary way", ("Student", "Status", "Reason"), tally.others))
    parts.append(_list("Marks that are missing", ("Student", "What"), tally.waiting))
    return "\n".join(filter(None, parts)) + "\n</section>"


def _distribution(shares: list[float], problem: Problem | None) -> str:
    counts = Counter(min(int(share * BINS + 1e-9), BINS - 1) for share in shares)
    heights = [counts[i] for i in range(BINS)]
    tallest = max(heights)
    bars = []
    for i, count in enumerate(heights):
        height = 100 * count / tallest
        bars.append(
            f'<rect x="{20 + 44 * i}" y="{120 - height:.1f}" width="38" height="{height:.1f}"></rect>'
        )
        bars.append(
            f'<text x="{39 + 44 * i}" y="{114 - height:.1f}" text-anchor="middle">{count or ""}</text>'
        )
    for i in range(0, BINS + 1, 2):
        bars.append(f'<text x="{17 + 44 * i}" y="136" text-anchor="middle">{100 * i // BINS} %</text>')
    said = "; ".join(
        f"{100 * i // BINS} to {100 * (i + 1) // BINS} per cent: {count}"
        for i, count in enumerate(heights)
        if count
    )
    most = f" of {pages.number(problem.max_score)} points" if problem else ""
    scale = problem.max_score if problem else 1.0
    numbers = [
        f"{name} {pages.number(scale * value)}"
        for name, value in (
            ("mean", mean(shares)),
            ("median", median(shares)),
            ("lowest", min(shares)),
            ("highest", max(shares)),
        )
    ]
    return (
        f"<h3>Scores</h3>\n<p>{', '.join(numbers)}{most}; points by checks and marks entered so far.</p>\n"
        f'<svg viewBox="0 0 480 144" role="img" aria-label="Number of submissions by share of all points: {said}">\n'
        f'{"".join(bars)}\n<line x1="16" x2="462" y1="120.5" y2="120.5"></line>\n</svg>'
    )


def _items(tally: _Tally, problem: Problem) -> str:
    rows = []
    for task in problem.tasks.values():
        item = tally.items.get(task.id, _Item())
        share = ""
        if item.shares:
            part = 100 * mean(item.shares)
            share = f'<span class="meter" aria-hidden="true"><span style="width:{part:.0f}%"></span></span> {part:.0f} %'
        kind = "checks" if task.kind == "code" else "marks"
        rows.append(
            (pages.line(task.title), kind, pages.number(task.points), str(item.tried), share, _common(item))
        )
    header = ("Task", "Graded by", "Points", "Tried", "Mean share of points", "Most common errors")
    caption = "How hard the tasks were. Written answers enter the mean once they are marked; errors are counted by students."
    return "<h3>Tasks</h3>\n" + pages.table(header, rows, caption, [2, 3])


def _common(item: _Item) -> str:
    counted = sorted(item.verdicts.items(), key=lambda pair: (-pair[1], pair[0]))[:COMMON]
    return "<br>".join(f"{count} × {feedback.words(kind)}" for kind, count in counted)


def _errors(tally: _Tally) -> str:
    counted = sorted(tally.errors.items(), key=lambda pair: (-pair[1], pair[0]))
    rows = [(f"<code>{pages.line(name)}</code>", str(count)) for name, count in counted[:20]]
    if not rows:
        return ""
    return "<h3>Cells that ended with an error</h3>\n" + pages.table(
        ("Error", "Students"), rows, "When the notebook was run from the top.", [1]
    )


def _alike(tally: _Tally, problem: Problem) -> str:
    model = similarity.fingerprint(
        _solutions(problem, "code"), [*problem.stubs.values(), *problem.locked.values()]
    )
    words = similarity.text_fingerprint(_solutions(problem, "markdown"))
    rows = _groups("code", [*tally.prints, (MODEL, model)]) + _groups(
        "answers", [*tally.words, (MODEL, words)]
    )
    listed = pages.table(("What", "Students", "In common"), rows, "Groups", [2]) if rows else "<p>None.</p>"
    return (
        '<h3>Work that is alike</h3>\n<p class="soft">Code is compared without comments, docstrings, white space and '
        "the names of variables, written answers by their words; only what students wrote themselves, and only where "
        f"that is at least {similarity.SHORTEST} tokens or words, because short solutions coincide by chance. "
        f"<em>Nearly the same</em>: at least {100 * similarity.NEAR:.0f} % of the marks of a fingerprint in common "
        f"with another member of the group. A reason to talk to people, not a proof.</p>\n{listed}"
    )


def _solutions(problem: Problem, kind: str) -> list[str]:
    return [
        cell.source.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", "")
        for cell in problem.notebook.cells
        if cell.cell_type == kind and cell.metadata.get("nbgrader", {}).get("solution")
    ]


def _groups(what: str, prints: list[tuple[str, list[int]]]) -> list[tuple[str, str, str]]:
    identical, near = similarity.groups(prints)
    rows = [(f"{what}: the same", _members(group), "100 %") for group in identical]
    return rows + [
        (f"{what}: nearly the same", _members(group), f"{100 * group.least:.0f} % or more") for group in near
    ]


def _members(group: similarity.Group) -> str:
    names = ("<em>the model solution</em>" if name == MODEL else pages.line(name) for name in group.members)
    return "<br>".join(names)


def _list(title: str, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    if not rows:
        return ""
    cells = [tuple(pages.text(cell, 500) for cell in row) for row in sorted(rows)]
    return f"<h3>{title}</h3>\n" + pages.table(header, cells, f"{len(rows)} in all")
