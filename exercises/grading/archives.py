"""The reader for SUBMITTED: a folder, a zip or a tar."""

from __future__ import annotations

from pathlib import Path

from exercises.grading.entries import ArchiveError, Entry, Unreadable
from exercises.grading.folder import Folder
from exercises.grading.tars import Tar
from exercises.grading.zips import Zip

__all__ = ["ArchiveError", "Entry", "Folder", "Tar", "Unreadable", "Zip", "open_submitted"]


def open_submitted(path: Path) -> Folder | Zip | Tar:
    """The reader for SUBMITTED.

    Raises:
        ArchiveError: neither a folder nor an archive that can be opened.
    """
    path = Path(path)
    if path.is_dir():
        return Folder(path)
    try:
        with path.open("rb") as file:
            start = file.read(512)
    except OSError as error:
        raise ArchiveError(f"SUBMITTED: cannot open {path}: {error.strerror}") from None
    if start[:2] == b"PK":
        return Zip(path)
    if start.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ\0")) or start[257:262] == b"ustar":
        return Tar(path)
    raise ArchiveError(
        f"SUBMITTED: {path} is neither a folder nor a zip or tar (.tar, .gz, .bz2, .xz) archive"
    )
