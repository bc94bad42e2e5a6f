"""What was handed in: a folder, zip or tar with ``STUDENT/PROBLEM.ipynb`` or ``STUDENT/SET/PROBLEM.ipynb``.

The names are listed first, the contents read one at a time, so memory does not grow with the submissions.
One more folder around everything is tolerated.  Whatever is wrong with one file becomes the reason why that
submission is rejected, and touches no other.

If a student handed in a problem twice (at both levels), the later one counts; at equal times the one in SET.
"""

from __future__ import annotations

import datetime
import hashlib
import re
import unicodedata
import zoneinfo
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from exercises.grading.archives import ArchiveError, Entry, Unreadable, open_submitted
from exercises.grading.names import meant, safe_name, shown, unsafe_characters, unsafe_path

__all__ = ["ArchiveError", "Submission", "Submissions", "safe_name"]

TIMESTAMP = "timestamp.txt"  # nbgrader's
_IGNORED = re.compile(r"__MACOSX|\.(?!\.?\Z).*|Thumbs\.db|desktop\.ini", re.DOTALL)
_STRAYS = 3


@dataclass(frozen=True)
class Submission:
    """One student's notebook for one problem.

    ``reason`` says why it is rejected unread, and is empty otherwise.  ``problem`` is a slug, or empty if the
    file could not be recognised.  ``note`` is for the reason of a graded one: other files that were found.
    """

    student: str
    problem: str
    submitted_at: str = ""
    content: bytes = field(default=b"", repr=False)
    reason: str = ""
    note: str = ""

    @property
    def digest(self) -> str:
        """Changes with the bytes, or with the reason why there are none."""
        return hashlib.sha256(self.reason.encode() or self.content).hexdigest()


@dataclass(frozen=True)
class _Found:
    """A file that is, or was meant to be, a submission."""

    student: str
    problem: str
    entry: Entry
    parts: tuple[str, ...]
    reason: str


class Submissions:
    """All submissions in SUBMITTED; iterating reads them one after another.

    sets: the set of every problem by its slug.
    wanted: the slugs that are to be graded; files of other problems are left out.

    Raises:
        ArchiveError: SUBMITTED cannot be read, or holds nothing like a submission.
    """

    def __init__(self, path: Path, sets: Mapping[str, str], wanted: Collection[str] | None = None):
        self.sets = dict(sets)
        self.wanted = set(self.sets if wanted is None else wanted)
        self.reader = open_submitted(path)
        entries = [entry for entry in self.reader.entries() if not _ignored(entry.name)]
        paths = _without_top_folder([_parts(entry.name) for entry in entries], self.sets)
        found, stamps, strays = [], {}, defaultdict(list)
        for entry, parts in zip(entries, paths, strict=True):
            if parts[-1] == TIMESTAMP and len(parts) in (2, 3) and not entry.trouble:
                stamps[parts[:-1]] = entry.key
            elif (item := self._recognise(entry, parts)) is not None:
                found.append(item)
            elif len(parts) > 1 or entry.trouble:
                strays[parts[0]].append(
                    " ".join([shown("/".join(parts[1:] or parts)), entry.trouble]).strip()
                )
        self._times = self._stamped(stamps)
        self.items = self._choose(found) + self._empty_handed(found, strays)
        if not self.items:
            example = min(self.wanted, default="PROBLEM")
            raise ArchiveError(
                f"SUBMITTED: no notebook in {path}; expected files like STUDENT/{example}.ipynb"
            )

    def __len__(self) -> int:
        return len(self.items)

    def keys(self) -> set[tuple[str, str]]:
        """(student, problem) of all."""
        return {(item.student, item.problem) for item, _ in self.items}

    def __iter__(self) -> Iterator[Submission]:
        by_key = {}
        for item, key in self.items:
            if item.reason:
                yield item
            else:
                by_key[key] = item
        for key, content in self.reader.contents(list(by_key)):
            item = by_key[key]
            if isinstance(content, Unreadable):
                yield replace(item, reason=f"unreadable file: the file {content}")
            else:
                yield replace(item, content=content)

    def _recognise(self, entry: Entry, parts: tuple[str, ...]) -> _Found | None:
        """What a file was meant to be and what is wrong with it; None if it is no submission at all."""
        name = "/".join(parts)
        if flaw := unsafe_path(name):
            return _Found(shown(name), "", entry, parts, f"unsafe path: {flaw}")
        if len(parts) == 1:
            if entry.trouble or not name.endswith(".ipynb"):
                return None
            return _Found(shown(name), "", entry, parts, "misplaced file: it lies in no student's folder")
        student, file = parts[0], parts[-1]
        problem = file.removesuffix(".ipynb") if file.endswith(".ipynb") else ""
        exact = problem in self.sets
        problem = problem if exact else self._meant(file)
        if not problem and not file.endswith(".ipynb"):
            return None
        if flaw := unsafe_characters(name):
            student = shown(student) if unsafe_characters(student) else unicodedata.normalize("NFC", student)
            return _Found(student, problem, entry, parts, f"unsafe name: {flaw}: {shown(name)}")
        student = unicodedata.normalize("NFC", student)
        reason = self._misplaced(parts, problem) if exact else self._misnamed(file, problem)
        if entry.trouble:
            reason = f"unreadable file: {shown('/'.join(parts[1:]))} {entry.trouble}"
        return _Found(student, problem, entry, parts, reason)

    def _meant(self, file: str) -> str:
        only = next(iter(self.wanted)) if len(self.wanted) == 1 and file.endswith(".ipynb") else ""
        return meant(file, self.sets) or only

    def _misplaced(self, parts: tuple[str, ...], problem: str) -> str:
        if len(parts) == 2 or parts[1:-1] == (self.sets[problem],):
            return ""
        here, there = "/".join(parts[1:]), f"{self.sets[problem]}/{problem}.ipynb"
        return f"misplaced file: {shown(here)} belongs at {there} or {problem}.ipynb in the student's folder"

    def _misnamed(self, file: str, problem: str) -> str:
        if not file.endswith(".ipynb"):
            return f"wrong file type: {shown(file)} is no notebook; hand in {problem}.ipynb itself"
        if not problem:
            return f"wrong file name: {shown(file)} is none of {', '.join(sorted(self.wanted))}"
        return f"wrong file name: {shown(file)} must be called {problem}.ipynb"

    def _stamped(self, stamps: Mapping[tuple[str, ...], object]) -> dict[tuple[str, ...], float]:
        """Times by folder, as far as nbgrader's files hold one."""
        folders = {key: folder for folder, key in stamps.items()}
        times = {}
        for key, content in self.reader.contents(list(folders)) if folders else ():
            time = None if isinstance(content, Unreadable) else read_timestamp(content)
            if time is not None:
                times[folders[key]] = time
        return times

    def _choose(self, found: list[_Found]) -> list[tuple[Submission, object]]:
        """One submission for each student and problem, sorted."""
        count = Counter(item.entry.name for item in found)
        groups = defaultdict(list)
        for item in found:
            if count[item.entry.name] > 1:
                item = replace(item, reason="ambiguous file: the archive holds it more than once")
            if item.problem in self.wanted or item.problem not in self.sets:
                groups[item.student, item.problem].append(item)
        return [self._best(*key, items) for key, items in sorted(groups.items())]

    def _best(self, student: str, problem: str, items: list[_Found]) -> tuple[Submission, object]:
        def order(item: _Found):
            return not item.reason, self._time(item) or 0.0, len(item.parts), item.parts

        best = max(items, key=order)
        others = sorted({shown("/".join(item.parts[1:])) for item in items if item is not best})
        note = f"not graded: {', '.join(others[:_STRAYS])}" if others else ""
        time = _iso(self._time(best))
        if best.reason:
            return Submission(student, problem, time, reason=best.reason), None
        return Submission(student, problem, time, note=note), best.entry.key

    def _time(self, item: _Found) -> float | None:
        return self._times.get(item.parts[:-1], item.entry.time)

    def _empty_handed(
        self, found: list[_Found], strays: Mapping[str, list[str]]
    ) -> list[tuple[Submission, object]]:
        """A rejection for everyone whose files are all something else."""
        problem = next(iter(self.wanted)) if len(self.wanted) == 1 else ""
        rejected = []
        known = {item.parts[0] for item in found}
        for student in sorted(set(strays) - known):
            files = ", ".join(sorted(strays[student])[:_STRAYS])
            name = shown(student) if unsafe_characters(student) else unicodedata.normalize("NFC", student)
            reason = f"no notebook: found {files}"
            rejected.append((Submission(name, problem, reason=reason), None))
        return rejected


def _ignored(name: str) -> bool:
    """What systems and editors leave behind: hidden files, checkpoints, the twins that macOS packs."""
    return any(_IGNORED.fullmatch(part) for part in name.split("/"))


def _parts(name: str) -> tuple[str, ...]:
    while name.startswith("./"):
        name = name[2:]
    return tuple(name.split("/"))


def _without_top_folder(paths: list[tuple[str, ...]], sets: Mapping[str, str]) -> list[tuple[str, ...]]:
    """Cut off a single folder around all students; a single student's own folder stays."""
    safe = [parts for parts in paths if not unsafe_path("/".join(parts))]
    tops = {parts[0] for parts in safe if len(parts) > 1}
    below = {parts[1] for parts in safe if len(parts) > 2}
    notebooks = any(len(parts) < 3 and parts[-1].endswith(".ipynb") for parts in safe)
    if len(tops) != 1 or notebooks or not below - set(sets.values()):
        return paths
    return [parts[1:] if parts[0] in tops and len(parts) > 1 else parts for parts in paths]


def read_timestamp(content: bytes) -> float | None:
    """Seconds since 1970 from nbgrader's "2026-01-31 12:00:00.000000 UTC", or None if it is something else."""
    match = re.fullmatch(
        r"(\d{4}-\d\d-\d\d)[ T](\d\d:\d\d:\d\d(?:\.\d{1,6})?)\s?(Z|[+-]\d\d:?\d\d|[A-Za-z_/+-]{1,40})?\s*",
        content[:100].decode("utf-8", "replace"),
        re.ASCII,
    )
    if match is None:
        return None
    day, clock, zone = match.groups()
    try:
        if zone in (None, "Z", "UTC") or zone[0] in "+-":
            offset = zone if zone and zone[0] in "+-" else "+00:00"
            return datetime.datetime.fromisoformat(f"{day}T{clock}{offset}").timestamp()
        local = datetime.datetime.fromisoformat(f"{day}T{clock}")
        return local.replace(tzinfo=zoneinfo.ZoneInfo(zone)).timestamp()
    except (ValueError, OverflowError, OSError, KeyError):  # KeyError: no such time zone
        return None


def _iso(time: float | None) -> str:
    try:
        moment = datetime.datetime.fromtimestamp(time, datetime.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ") if moment.year >= 1000 else ""
