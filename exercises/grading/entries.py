"""What every reader of submissions has in common: entries with their troubles, and limits that bombs meet.

A reader has ``entries()``, which lists names without reading contents, and ``contents(keys)``, which yields
``(key, bytes)`` for the wanted entries one at a time, in an order that suits it.  Sizes in headers are never
believed: reading stops one byte after the limit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO

FILE_BYTES = 20 * 2**20  # of one notebook
TOTAL_BYTES = 16 * 2**30  # of an archive, unpacked
CROWD = 2000  # files of one student in one set
MOST_STUDENTS = 20_000
MOST_ENTRIES = 200_000
MOST_BELOW = MOST_ENTRIES // 4  # one of the first folders: a student, or the folder that holds them all
DEPTH = 5  # folders below SUBMITTED that are looked into


class ArchiveError(ValueError):
    """SUBMITTED as a whole cannot be read; the message says why."""


class Unreadable(ValueError):
    """One entry cannot be read; the message completes "the file ..."."""


@dataclass(frozen=True)
class Entry:
    """A name in the archive.  ``trouble`` completes "the file ..." when it must not be read; "" otherwise.

    ``name`` is as stored, with ``/`` between the parts and surrogates for bytes that are not UTF-8; ``time``
    is in seconds since 1970 (UTC), or None.
    """

    key: object
    name: str
    time: float | None
    trouble: str = ""


class Crowds:
    """Counts names, so that one student's million files cost the others nothing."""

    def __init__(self):
        self.counts, self.first, self.total = Counter(), Counter(), 0

    def admits(self, name: str) -> bool:
        """Whether this name is to be listed.

        Raises:
            ArchiveError: too many names altogether.
        """
        place, most = self._place(name)
        self.counts[place] += 1
        if self.counts[place] > most:
            return False
        first = name.split("/", 1)[0]
        self.first[first] += 1
        if self.first[first] > MOST_BELOW:
            return False
        self.total += 1
        if self.total > MOST_ENTRIES:
            raise ArchiveError(
                f"SUBMITTED: more than {MOST_ENTRIES} files; is this the right folder or archive?"
            )
        return True

    def entries(self) -> Iterator[Entry]:
        """One entry that cannot be read for every crowded place."""
        for place, count in self.counts.items():
            most = {0: MOST_ENTRIES, 1: MOST_STUDENTS, 2: CROWD}[len(place)]
            if count > most:
                yield Entry(None, "/".join(place), None, f"is a folder with more than {most} files")
        for name, count in self.first.items():
            if count > MOST_BELOW:
                yield Entry(None, name, None, f"is a folder with more than {MOST_BELOW} files")

    def _place(self, name: str) -> tuple[tuple[str, ...], int]:
        """The folder that a name counts for.  The first folder may be a student or hold them all."""
        parts = name.split("/", 2)
        return {1: ((), MOST_ENTRIES), 2: ((parts[0],), MOST_STUDENTS)}.get(
            len(parts), (tuple(parts[:2]), CROWD)
        )


def capped(file: IO[bytes]) -> bytes | Unreadable:
    """The bytes of an open file, unless there are too many."""
    content = file.read(FILE_BYTES + 1)
    return Unreadable(too_large()) if len(content) > FILE_BYTES else content


def too_large() -> str:
    """The trouble of a file above FILE_BYTES."""
    return f"is larger than {FILE_BYTES // 2**20} MB (clear its outputs: Edit, Clear Outputs of All Cells)"
