"""Submissions in a zip archive, read entry by entry; one that is damaged touches no other."""

from __future__ import annotations

import datetime
import io
import lzma
import stat
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator
from pathlib import Path

from exercises.grading import entries
from exercises.grading.entries import ArchiveError, Entry, Unreadable

DIRECTORY_BYTES = 32 * 2**20  # of the list of names
_DAMAGED = (
    zipfile.BadZipFile,
    EOFError,
    OSError,
    zlib.error,
    lzma.LZMAError,
    ValueError,
    NotImplementedError,
)


class Zip:
    """A zip archive."""

    def __init__(self, path: Path):
        self.path = path
        try:
            if _size_of_directory(path) > DIRECTORY_BYTES:
                raise ArchiveError(f"SUBMITTED: {path} lists too many files")
            self.archive = zipfile.ZipFile(path)
        except ArchiveError:
            raise
        except _DAMAGED as error:
            raise ArchiveError(f"SUBMITTED: {path} is a damaged zip archive ({error})") from None

    def entries(self) -> Iterator[Entry]:
        """Every entry that is not a folder."""
        crowds = entries.Crowds()
        for key, info in enumerate(self.archive.infolist()):
            name = _zip_name(info)
            if not info.is_dir() and crowds.admits(name):
                yield Entry(key, name, _zip_time(info), _zip_trouble(info))
        yield from crowds.entries()

    def contents(self, keys: Collection[int]) -> Iterator[tuple[int, bytes | Unreadable]]:
        """Bytes of each wanted entry, or why there are none."""
        listed = self.archive.infolist()
        for key in keys:
            try:
                with self.archive.open(listed[key]) as file:
                    yield key, entries.capped(file)
            except (*_DAMAGED, RuntimeError, MemoryError) as error:
                yield key, Unreadable(f"is damaged in the archive ({error})")


def _size_of_directory(path: Path) -> int:
    """Bytes of the list of names, from the record at the end of a zip."""
    with path.open("rb") as file:
        file.seek(0, io.SEEK_END)
        file.seek(max(0, file.tell() - 2**16 - 200))
        tail = file.read()
    found = tail.rfind(b"PK\5\6")
    if found < 0 or found + 22 > len(tail):
        raise zipfile.BadZipFile("it has no list of its files; was the download interrupted?")
    (size,) = struct.unpack_from("<L", tail, found + 12)
    wide = tail.rfind(b"PK\6\6", 0, found)
    if size == 0xFFFFFFFF and wide >= 0 and wide + 48 <= len(tail):
        (size,) = struct.unpack_from("<Q", tail, wide + 40)
    return size


def _zip_name(info: zipfile.ZipInfo) -> str:
    """The name; older tools store UTF-8 without saying so, which zipfile takes for code page 437."""
    if info.flag_bits & 0x800:
        return info.orig_filename
    raw = info.orig_filename.encode("cp437", "surrogateescape")
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return info.orig_filename


def _zip_time(info: zipfile.ZipInfo) -> float | None:
    """The entry's time: to the second and in UTC if the tool stored it so, else its plain date as UTC."""
    extra = info.extra
    while len(extra) >= 4:
        kind, size = struct.unpack_from("<HH", extra)
        if kind == 0x5455 and size >= 5 and len(extra) >= 9 and extra[4] & 1:
            return float(struct.unpack_from("<l", extra, 5)[0])
        extra = extra[4 + size :]
    try:
        return datetime.datetime(*info.date_time, tzinfo=datetime.UTC).timestamp()
    except ValueError:
        return None


def _zip_trouble(info: zipfile.ZipInfo) -> str:
    kind = stat.S_IFMT(info.external_attr >> 16) if info.create_system == 3 else 0
    if kind == stat.S_IFLNK:
        return "is a symbolic link"
    if kind not in (0, stat.S_IFREG):
        return "is not an ordinary file"
    if info.flag_bits & 0x1:
        return "is encrypted"
    if info.file_size > entries.FILE_BYTES:
        return entries.too_large()
    return ""
