"""Submissions packed in every way in which they may come."""

from __future__ import annotations

import io
import os
import tarfile
import zipfile
from pathlib import Path

from exercises.grading.submissions import Submission, Submissions

SETS = {"ntk_matrix": "definition", "two_layer_relu": "infinite_width"}
GOOD = b'{"cells": []}'
TIME = 1_767_225_600  # 2026-01-01T00:00:00Z
FILES = {"alice/ntk_matrix.ipynb": GOOD, "bob/definition/ntk_matrix.ipynb": GOOD + b" "}
KINDS = ["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


def pack(folder: Path, kind: str, files: dict[str, bytes]) -> Path:
    """SUBMITTED of one kind, with the files in it."""
    path = folder / f"submitted.{kind}"
    if kind == "folder":
        for name, content in files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            os.utime(file, (TIME, TIME))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for name, content in files.items():
                add(archive, name, content)
    return path


def add(archive: tarfile.TarFile, name: str, content: bytes = b"", **changed) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), TIME
    for key, value in changed.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))


def read(path: Path, **options) -> dict[tuple[str, str], Submission]:
    """All submissions by (student, problem)."""
    items = list(Submissions(path, SETS, **options))
    found = {(item.student, item.problem): item for item in items}
    assert len(found) == len(items)
    return found


def reasons(path: Path) -> dict[str, str]:
    """The reason for each student."""
    return {student: item.reason for (student, _), item in read(path).items()}
