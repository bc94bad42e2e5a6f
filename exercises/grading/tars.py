"""Submissions in a tar archive, compressed or not, read from start to end: once for names, once for contents."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import tarfile
import zlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

from exercises.grading import entries
from exercises.grading.entries import ArchiveError, Entry, Unreadable

_CHUNK = 2**20
_DAMAGED = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError)


class Tar:
    """A tar archive."""

    def __init__(self, path: Path):
        self.path = path

    def entries(self) -> Iterator[Entry]:
        """Every entry that is not a folder."""
        crowds = entries.Crowds()
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
                yield key, entries.capped(archive.extractfile(info))
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
    if info.size > entries.FILE_BYTES:
        return entries.too_large()
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
        if not 0 <= size <= entries.FILE_BYTES + _CHUNK:
            raise tarfile.ReadError(f"a header of {size} bytes")
        self.last = self.file.read(size)
        self.position += len(self.last)
        if self.position > entries.TOTAL_BYTES:
            raise ArchiveError(f"SUBMITTED: more than {entries.TOTAL_BYTES // 2**30} GiB when unpacked")
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
