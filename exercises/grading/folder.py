"""Submissions in a folder: no link is followed, not even one that appears after the names were listed."""

from __future__ import annotations

import io
import os
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from exercises.grading import entries
from exercises.grading.entries import DEPTH, Entry, Unreadable


class Folder:
    """A folder; every step down is taken relative to the open folder above, never through a link."""

    def __init__(self, path: Path):
        self.path = path

    def entries(self) -> Iterator[Entry]:
        """All files and everything else that is not a folder, sorted within each folder."""
        crowds = entries.Crowds()
        root = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            yield from self._below(root, "", crowds, 1)
        finally:
            os.close(root)
        yield from crowds.entries()

    def _below(self, folder: int, prefix: str, crowds: entries.Crowds, depth: int) -> Iterator[Entry]:
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
                    yield key, Unreadable(_trouble(status)) if _trouble(status) else entries.capped(file)
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
            if len(names) > entries.MOST_ENTRIES:
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
