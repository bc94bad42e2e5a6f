"""One table for a course: a row for everyone on the roster, a column for each problem, and the total."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path

from exercises.grading import tables

NAME = "gradebook.csv"
STUDENT = "student"
TOTAL = "total"


def write(out: Path, roster: Path, rows: Iterable[Mapping[str, object]]) -> list[str]:
    """Write ``OUT/gradebook.csv`` and return what an instructor should know, one sentence each.

    roster: a CSV file with a column ``student``, the name of the student's folder; its other columns are passed on
    rows: the rows of ``grades.csv``

    A problem that somebody did not hand in is an empty cell, which counts as 0 in the total.  If the grader itself
    failed on one of a student's submissions, that cell and the total are empty: run it again first.

    Raises:
        tables.TableError: a roster that cannot be read, with file and line; nothing is written then.
    """
    header, students = _roster(Path(roster))
    scores: dict[tuple[str, str], str] = {}
    failed, handed_in = set(), set()
    for row in rows:
        student, problem = str(row["student"]), str(row["problem"])
        handed_in.add(student)
        scores[student, problem] = _score(row["score"])
        if row["status"] == "failed":
            failed.add(student)
    problems = sorted({problem for _, problem in scores})
    clash = {*problems, TOTAL} & set(header)
    if clash:
        raise tables.TableError(f"{roster}, line 1: the column {min(clash)!r} is one that the gradebook adds")
    lines = []
    for student in students:
        name = student[STUDENT]
        mine = [scores.get((name, problem), "") for problem in problems]
        total = "" if name in failed else f"{sum(float(score or 0) for score in mine):.2f}"
        lines.append([*(student[column] for column in header), *mine, total])
    tables.replace(Path(out) / NAME, tables.dump([*header, *problems, TOTAL], lines))
    return _notes({student[STUDENT] for student in students}, handed_in, failed)


def _roster(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    header, rows = tables.read(path, [STUDENT])
    seen = {}
    for line, cells in rows:
        name = cells[STUDENT] = unicodedata.normalize("NFC", cells[STUDENT].strip())
        if not name:
            raise tables.TableError(f"{path}, line {line}: the column {STUDENT!r} is empty")
        if name in seen:
            raise tables.TableError(f"{path}, line {line}: {name!r} stands in line {seen[name]} already")
        seen[name] = line
    return header, [cells for _, cells in rows]


def _score(value: object) -> str:
    return "" if value in ("", None) else f"{float(value):.2f}"


def _notes(roster: set[str], handed_in: set[str], failed: set[str]) -> list[str]:
    notes = [f"Not on the roster, so not in {NAME}: {name}" for name in sorted(handed_in - roster)]
    notes += [
        f"The grader failed on a submission of {name}: total left empty" for name in sorted(failed & roster)
    ]
    absent = sorted(roster - handed_in)
    if absent:
        notes.append(f"Nothing handed in by {len(absent)} on the roster: {', '.join(absent)}")
    return notes
