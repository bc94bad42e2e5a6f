"""Marks by hand: a CSV file and a reading page for every problem with a rubric, merged without loss.

``OUT/marks/PROBLEM.csv`` has one row for each student, task and criterion; an instructor fills in ``points`` and
``comment``, in a spreadsheet or on ``OUT/marks/PROBLEM.html``.  The next run reads the file, adds rows for new
students and writes it again.  What was entered is never dropped:

* A mark belongs to an answer, named in the column ``submission``.  If the answer has changed since, the points
  still count and the mark is reported as one of an earlier version.  Typing points on the page, or emptying the
  cell ``submission``, says that the mark is for the present answer.
* Rows of students whose submission is gone stay in the file.
* A file that cannot be read as it is stops the run with file and line, and nothing is written.
* What a run has read is kept in ``OUT/marks/backup``.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from exercises.grading import marks_page, tables
from exercises.grading.problem import Problem

COLUMNS = ("student", "task", "criterion", "max_points", "points", "comment", "submission")
EMPTY = "empty"  # stands for an answer with nothing in it
NO_ANSWER = "no answer"


class MarksError(ValueError):
    """Marks that cannot be merged as they are: one line for each fault, with file and line."""


@dataclass(frozen=True)
class Mark:
    """One row; ``points`` is None until somebody enters them, ``submission`` names the answer they are for."""

    student: str
    task: str
    criterion: str
    max_points: float
    points: float | None = None
    comment: str = ""
    submission: str = ""

    @property
    def key(self) -> tuple[str, str, str]:
        """What tells rows apart."""
        return self.student, self.task, self.criterion

    def row(self) -> tuple[str, ...]:
        """Its cells in the order of COLUMNS."""
        points = "" if self.points is None else f"{self.points:g}"
        return (*self.key, f"{self.max_points:g}", points, self.comment, self.submission)


@dataclass(frozen=True)
class Marks:
    """All marks of one student for one problem."""

    rows: tuple[Mark, ...] = ()
    changed: frozenset[str] = frozenset()  # tasks whose answer has changed since it was marked

    @property
    def points(self) -> float:
        """Sum of what was entered."""
        return round(sum(mark.points or 0.0 for mark in self.rows), 2)

    @property
    def missing(self) -> float:
        """Points that nobody has decided on yet."""
        return sum(mark.max_points for mark in self.rows if mark.points is None)

    def reason(self, max_score: float) -> str:
        """What ``grades.csv`` says of them; empty when all is done."""
        notes = [f"{self.missing:g} of {max_score:g} points await marks"] if self.missing else []
        if self.changed:
            notes.append(f"changed since it was marked: {', '.join(sorted(self.changed))}")
        return "; ".join(notes)


def name_of(answer: str) -> str:
    """A short name for an answer, the same for the same words."""
    words = " ".join(answer.split())
    return hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:10] if words else EMPTY


def merge(
    out: Path, results: Iterable, problems: Mapping[str, Problem] | Iterable[Problem]
) -> dict[tuple[str, str], Marks]:
    """Bring ``OUT/marks`` up to date with the results, and read what was entered.

    results: in any order; each is looked at once and not kept.

    Returns the marks by (student, slug), for problems with a rubric.

    Raises:
        MarksError: a file that cannot be read as it is; nothing has been written then.
    """
    listed = problems.values() if isinstance(problems, Mapping) else problems
    files = {problem.slug: _File(Path(out) / "marks", problem) for problem in listed if problem.rubric}
    merged = {}
    try:
        for result in results:
            if result.problem in files:
                merged[result.student, result.problem] = files[result.problem].add(result)
        faults = [fault for file in files.values() for fault in file.faults()]
        if faults:
            raise MarksError("\n".join(faults))
        for file in files.values():
            file.write()
    finally:
        for file in files.values():
            file.page.close()
    return merged


class _File:
    """The marks of one problem while they are merged."""

    def __init__(self, folder: Path, problem: Problem):
        self.path = folder / f"{problem.slug}.csv"
        self.backup = folder / "backup"
        self.last = self.backup / f"{problem.slug}.last.csv"  # what the last run wrote
        self.problem = problem
        self.criteria = {
            (task, criterion.text): criterion.points
            for task, criteria in problem.rubric.items()
            for criterion in criteria
        }
        self.lines: dict[tuple[str, str, str], int] = {}
        self.old: dict[tuple[str, str, str], Mark] = {}
        self.rows: list[Mark] = []
        self.bad: list[str] = []
        self.students: set[str] = set()
        self._read()
        self.page = marks_page.Page(self.path.with_suffix(".html"), problem)

    def _read(self) -> None:
        if not self.path.exists():
            return
        try:
            _, rows = tables.read(self.path, [name for name in COLUMNS if name != "max_points"])
        except tables.TableError as error:
            raise MarksError(str(error)) from None
        for line, cells in rows:
            self._read_row(line, cells)

    def _read_row(self, line: int, cells: dict[str, str]) -> None:
        key = cells["student"], cells["task"], cells["criterion"]
        most = self.criteria.get(key[1:])
        comment, submission = cells["comment"].strip(), cells["submission"].strip()
        if most is None and not cells["points"].strip() and not comment:
            return  # of a criterion that the rubric no longer has
        if most is None:
            return self._fault(line, self._unknown_criterion(*key[1:]))
        try:
            points = tables.points(cells["points"], most)
        except ValueError as error:
            return self._fault(line, str(error))
        mark = Mark(*key, most, points, comment, submission)
        if key in self.old and replace(self.old[key], submission="") != replace(mark, submission=""):
            return self._fault(line, f"other marks for {key[0]}, {key[2]!r} stand in line {self.lines[key]}")
        self.old[key], self.lines[key] = mark, line

    def _unknown_criterion(self, task: str, criterion: str) -> str:
        tasks = sorted({task for task, _ in self.criteria})
        if task not in tasks:
            return f"no task {task!r} with a rubric; there is {', '.join(tasks)}"
        texts = [text for other, text in self.criteria if other == task]
        near = difflib.get_close_matches(criterion, texts, 1, 0)
        return f"no criterion {criterion!r} in the rubric of {task}; the nearest is {near[0]!r}"

    def _fault(self, line: int, message: str) -> None:
        self.bad.append(f"{self.path}, line {line}: {message}")

    def add(self, result) -> Marks:
        """Rows for one student; what was entered stays."""
        self.students.add(result.student)
        rows, changed = [], set()
        for task, criteria in self.problem.rubric.items():
            present = name_of(self._answer(result, task))
            asked = result.status in ("graded", "stopped")
            here = []
            for criterion in criteria:
                new = Mark(result.student, task, criterion.text, criterion.points, submission=present)
                mark = _merged(self.old.pop(new.key, None), new, asked)
                if mark is not None:
                    here.append(mark)
                    if mark.submission != present and result.status != "failed":
                        changed.add(task)
            if here:
                self.page.answer(result.student, task, self._answer(result, task), here, present)
            rows += here
        self.rows += rows
        return Marks(tuple(rows), frozenset(changed))

    def _answer(self, result, task: str) -> str:
        answer = result.answers.get(task, "")
        return "" if name_of(answer) == name_of(self.problem.stubs[task]) else answer

    def faults(self) -> list[str]:
        """Everything that is wrong with the file as it was read."""
        written = set()
        if self.last.exists():
            written = {cells["student"] for _, cells in tables.read(self.last, COLUMNS)[1]}
        faults = list(self.bad)
        for student, _, _ in self.old:
            if student not in written and student not in self.students:
                near = difflib.get_close_matches(student, sorted(self.students | written), 1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                line = next(line for key, line in self.lines.items() if key[0] == student)
                fault = f"{self.path}, line {line}: nobody called {student!r} has handed in{hint}"
                if fault not in faults:
                    faults.append(fault)
        return faults

    def write(self) -> None:
        """The CSV file with its backups, and the page."""
        gone = list(self.old.values())
        rows = sorted([*self.rows, *gone], key=self._order)
        if not rows:
            return
        text = tables.dump(COLUMNS, (mark.row() for mark in rows))
        if self.path.exists() and (
            not self.last.exists() or self.path.read_bytes() != self.last.read_bytes()
        ):
            self._keep(self.path.read_bytes())
        tables.replace(self.last, text)
        tables.replace(self.path, text)
        self.page.finish(gone)

    def _order(self, mark: Mark) -> tuple:
        return mark.student, list(self.criteria).index((mark.task, mark.criterion))

    def _keep(self, entered: bytes) -> None:
        number = 1 + len(list(self.backup.glob(f"{self.problem.slug}.[0-9]*.csv")))
        tables.replace(self.backup / f"{self.problem.slug}.{number:04}.csv", entered)


def _merged(old: Mark | None, new: Mark, asked: bool) -> Mark | None:
    """The row after a run: ``old`` is what the file holds, ``new`` the empty row of the present answer."""
    if not asked:
        return old
    untouched = old is None or (old.points is None and not old.comment)
    if untouched or (old.submission, old.points, old.comment) == (EMPTY, 0, NO_ANSWER):
        return replace(new, points=0.0, comment=NO_ANSWER) if new.submission == EMPTY else new
    if old.points is None or not old.submission:
        return replace(old, submission=new.submission)
    return old
