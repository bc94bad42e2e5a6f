"""Files below a folder or in a zip or tar, with nothing extracted and no link followed.

Every reader has ``entries()``, which lists names without reading contents, and ``contents(keys)``, which yields
``(key, bytes)`` for the wanted entries one at a time, in an order that suits the reader.  Sizes in headers are
never believed: reading stops one byte after the limit.
"""

from __future__ import annotations

import bz2
import datetime
import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

FILE_BYTES = 20 * 2**20  # of one notebook
TOTAL_BYTES = 16 * 2**30  # of an archive, unpacked
CROWD = 2000  # files of one student in one set
MOST_STUDENTS = 20_000
MOST_ENTRIES = 200_000
MOST_BELOW = MOST_ENTRIES // 4  # one of the first folders: a student, or the folder that holds them all
DEPTH = 5  # folders below SUBMITTED that are looked into
DIRECTORY_BYTES = 32 * 2**20  # of a zip's list of names
_CHUNK = 2**20
_DAMAGED = (zipfile.BadZipFile, tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)


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


class _Crowds:
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


class Folder:
    """A folder; every step down is taken relative to the open folder above, never through a link."""

    def __init__(self, path: Path):
        self.path = path

    def entries(self) -> Iterator[Entry]:
        """All files and everything else that is not a folder, sorted within each folder."""
        crowds = _Crowds()
        root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield from self._below(root, "", crowds, 1)
        finally:
            os.close(root)
        yield from crowds.entries()

    def _below(self, folder: int, prefix: str, crowds: _Crowds, depth: int) -> Iterator[Entry]:
        for name in _sorted_names(folder):
            path = f"{prefix}{name}"
            if not crowds.admits(path):
                continue
            try:
                status = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if not stat.S_ISDIR(status.st_mode):
                    yield Entry(path, path, status.st_mtime, _trouble(status))
                elif depth == DEPTH:
                    yield Entry(path, path, None, "lies too deep in folders")
                else:
                    below = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=folder)
                    try:
                        yield from self._below(below, f"{path}/", crowds, depth + 1)
                    finally:
                        os.close(below)
            except OSError as error:
                yield Entry(path, path, None, f"cannot be read ({error.strerror})")

    def contents(self, keys: Collection[str]) -> Iterator[tuple[str, bytes | Unreadable]]:
        """Bytes of each wanted file, or why there are none."""
        for key in keys:
            try:
                with self._open(key) as file:
                    status = os.fstat(file.fileno())
                    yield key, Unreadable(_trouble(status)) if _trouble(status) else _capped(file)
            except OSError as error:
                yield key, Unreadable(f"cannot be read ({error.strerror})")

    def _open(self, name: str) -> io.FileIO:
        *folders, last = name.split("/")
        here = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in folders:
                below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=here)
                os.close(here)
                here = below
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
            return io.FileIO(os.open(last, flags, dir_fd=here))
        finally:
            os.close(here)


def _sorted_names(folder: int) -> list[str]:
    """Names in an open folder; of a very crowded one, as many as show that it is crowded."""
    names = []
    with os.scandir(folder) as listing:
        for item in listing:
            names.append(item.name)
            if len(names) > MOST_ENTRIES:
                break
    return sorted(names)


def _trouble(status: os.stat_result) -> str:
    if stat.S_ISLNK(status.st_mode):
        return "is a symbolic link"
    if not stat.S_ISREG(status.st_mode):
        return "is not an ordinary file"
    if status.st_nlink > 1:
        return "is a hard link to another file"
    return ""


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
        except (*_DAMAGED, NotImplementedError) as error:
            raise ArchiveError(f"SUBMITTED: {path} is a damaged zip archive ({error})") from None

    def entries(self) -> Iterator[Entry]:
        """Every entry that is not a folder."""
        crowds = _Crowds()
        for key, info in enumerate(self.archive.infolist()):
            name = _zip_name(info)
            if not info.is_dir() and crowds.admits(name):
                yield Entry(key, name, _zip_time(info), _zip_trouble(info))
        yield from crowds.entries()

    def contents(self, keys: Collection[int]) -> Iterator[tuple[int, bytes | Unreadable]]:
        """Bytes of each wanted entry, or why there are none."""
        entries = self.archive.infolist()
        for key in keys:
            try:
                with self.archive.open(entries[key]) as file:
                    yield key, _capped(file)
            except (*_DAMAGED, NotImplementedError, RuntimeError, MemoryError) as error:
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
    if info.file_size > FILE_BYTES:
        return _too_large()
    return ""


class Tar:
    """A tar archive, compressed or not.  It is read from start to end, once for names, once for contents."""

    def __init__(self, path: Path):
        self.path = path

    def entries(self) -> Iterator[Entry]:
        """Every entry that is not a folder."""
        crowds = _Crowds()
        for key, info, _ in self._members():
            if not info.isdir() and crowds.admits(info.name):
                yield Entry(key, info.name, info.mtime, _tar_trouble(info))
        yield from crowds.entries()

    def contents(self, keys: Collection[int]) -> Iterator[tuple[int, bytes | Unreadable]]:
        """Bytes of each wanted entry in the archive's order, or why there are none."""
        wanted = set(keys)
        last = max(wanted, default=-1)
        for key, info, archive in self._members():
            if key in wanted:
                yield key, _capped(archive.extractfile(info))
            if key == last:
                return

    def _members(self) -> Iterator[tuple[int, tarfile.TarInfo, tarfile.TarFile]]:
        key = -1
        try:
            with _Unpacked(self.path) as file, tarfile.open(fileobj=file, mode="r:") as archive:
                while (info := archive.next()) is not None:
                    key += 1
                    archive.members = []  # it would keep them all
                    yield key, info, archive
                if not file.ended():
                    raise ArchiveError(
                        f"SUBMITTED: {self.path} is cut off or damaged after {key + 1} entries"
                    )
                while file.read(_CHUNK):  # the checksum of what is packed stands at the very end
                    pass
        except ArchiveError:
            raise
        except _DAMAGED as error:
            raise ArchiveError(
                f"SUBMITTED: {self.path} is damaged after {key + 1} entries ({error})"
            ) from None


def _tar_trouble(info: tarfile.TarInfo) -> str:
    if info.issym():
        return "is a symbolic link"
    if info.islnk():
        return "is a hard link to another file"
    if not info.isreg() or info.issparse():
        return "is not an ordinary file"
    if info.size > FILE_BYTES:
        return _too_large()
    return ""


class _Unpacked:
    """The bytes of a tar, unpacked as they are read, forwards only; refuses what no honest archive needs."""

    def __init__(self, path: Path):
        self.raw = path.open("rb")
        opener = {b"\x1f\x8b": gzip.GzipFile, b"BZ": bz2.BZ2File, b"\xfd7": lzma.LZMAFile}.get(
            self.raw.read(2)
        )
        self.raw.seek(0)
        self.file = self.raw if opener is None else _open_packed(opener, self.raw)
        self.position = 0
        self.last = b""

    def __enter__(self) -> _Unpacked:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        self.raw.close()

    def tell(self) -> int:
        return self.position

    def read(self, size: int) -> bytes:
        if not 0 <= size <= FILE_BYTES + _CHUNK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self.file.read(size)
        self.position += len(self.last)
        if self.position > TOTAL_BYTES:
            raise ArchiveError(f"SUBMITTED: more than {TOTAL_BYTES // 2**30} GiB when unpacked")
        return self.last

    def seek(self, position: int) -> None:
        if position < self.position:
            raise tarfile.ReadError("an entry that points backwards")
        while self.position < position and self.read(min(_CHUNK, position - self.position)):
            pass

    def ended(self) -> bool:
        """Whether the last thing read was the block of zeros that ends a tar."""
        return self.last == bytes(tarfile.BLOCKSIZE)


def _open_packed(opener: Callable, raw: io.BufferedReader):
    return opener(fileobj=raw) if opener is gzip.GzipFile else opener(raw)


def _capped(file) -> bytes | Unreadable:
    content = file.read(FILE_BYTES + 1)
    return Unreadable(_too_large()) if len(content) > FILE_BYTES else content


def _too_large() -> str:
    return f"is larger than {FILE_BYTES // 2**20} MB (clear its outputs: Edit, Clear Outputs of All Cells)"
