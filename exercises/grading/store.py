"""OUT: the seed of the run, one JSON file for each result, and a lock, so that a run can be killed and resumed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import secrets
from collections.abc import Collection, Iterator
from dataclasses import replace
from pathlib import Path

from exercises.grading import tables
from exercises.grading.grade import Result
from exercises.grading.submissions import Submission

RUN = "run.json"
LOCK = "run.lock"
RESULTS = "results"
LARGEST_SEED = 2**32 - 1


class StoreError(ValueError):
    """OUT cannot be used for this run; the message says why."""


class Store:
    """The results of one run, each written as a whole or not at all.

    A result is kept under what it follows from: the submission's bytes, the problem (notebook, hidden checks and
    grading code), the seed and the limits.  ``with Store(out, seed) as store`` holds the lock of OUT.

    Raises:
        StoreError: another run is using OUT, it was begun with another seed, or it is something else.
    """

    def __init__(self, out: Path, seed: int | None = None):
        self.out = Path(out)
        if seed is not None and not 0 <= seed <= LARGEST_SEED:
            raise StoreError(f"seed: expected 0 to {LARGEST_SEED}, got {seed}")
        if self.out.exists() and not self.out.is_dir():
            raise StoreError(f"OUT: {self.out} is a file, expected a folder")
        try:
            self.out.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(self.out / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(self._lock)
            raise StoreError(f"OUT: another run is using {self.out}") from None
        except OSError as error:
            raise StoreError(f"OUT: cannot write to {self.out}: {error.strerror}") from None
        try:
            for part in (self.out / RESULTS).glob(".*"):  # of a run that was killed while writing
                part.unlink()
            self.seed = self._settle(seed)
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    def close(self) -> None:
        """Release the lock."""
        os.close(self._lock)

    def _settle(self, wanted: int | None) -> int:
        """The seed of this OUT: the stored one, else the wanted one, else a random one, which is stored."""
        path = self.out / RUN
        if path.exists():
            try:
                seed = json.loads(path.read_bytes())["seed"]
            except (ValueError, KeyError, TypeError):
                raise StoreError(f"OUT: {path} is damaged; take another folder") from None
            if wanted not in (None, seed):
                raise StoreError(f"seed: {self.out} was begun with {seed}, got {wanted}; take another folder")
            return seed
        seed = secrets.randbelow(LARGEST_SEED + 1) if wanted is None else wanted
        tables.replace(path, json.dumps({"seed": seed}) + "\n")
        return seed

    def load(self, submission: Submission, key: str) -> Result | None:
        """The result of this very submission under ``key``, unless there is none or the grader had failed."""
        stored = self._read(submission.student, submission.problem)
        if stored is None or stored[0] != key or stored[1].status == "failed":
            return None
        return stored[1]

    def save(self, result: Result, key: str) -> None:
        """Write a result; whenever the process dies, the old file or the new one is there, whole."""
        text = json.dumps({"key": key, "result": result.as_json()}, ensure_ascii=True, separators=(",", ":"))
        tables.replace(self._path(result.student, result.problem), text + "\n")

    def key(self, submission: Submission, *parts: object) -> str:
        """What a result follows from, as one name; ``parts`` are the problem's digest and the limits."""
        return hashlib.sha256(json.dumps([submission.digest, self.seed, *parts]).encode()).hexdigest()

    def results(self, wanted: Collection[tuple[str, str]]) -> Iterator[Result]:
        """Results by (student, problem), sorted, read one after another; those that are absent are left out."""
        for student, problem in sorted(wanted):
            stored = self._read(student, problem)
            if stored is not None:
                result = stored[1]
                yield replace(result, reason=_joined(result.reason, result.note), note="")

    def _read(self, student: str, problem: str) -> tuple[str, Result] | None:
        try:
            content = json.loads(self._path(student, problem).read_bytes())
            return content["key"], Result.from_json(content["result"])
        except FileNotFoundError:
            return None
        except (ValueError, KeyError, TypeError, AttributeError):  # of an older version: run it again
            return None

    def _path(self, student: str, problem: str) -> Path:
        name = hashlib.sha256(json.dumps([student, problem]).encode()).hexdigest()[:32]
        return self.out / RESULTS / f"{name}.json"


def _joined(reason: str, note: str) -> str:
    return "; ".join(filter(None, (reason, note)))
