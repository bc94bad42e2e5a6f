"""Run a learner's cells and calls of the learner's functions where they can do no harm, and bring back plain data.

    result = run(cells, calls, packages=("numpy", "torch"), limits=Limits())

The calls are sent after the last cell has reported, one after the other, and each answer comes back at once: what
was answered before a crash counts.  Everything that comes back is hostile and is checked here for its form; what
the answers are worth is decided by the trusted process.
"""

from __future__ import annotations

import builtins
import contextlib
import functools
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exercises.grading import launch, seccomp
from exercises.grading.launch import SandboxError, Started
from exercises.grading.limits import Limits, Watchdog

__all__ = ["CellReport", "Limits", "Run", "SandboxError", "available", "run"]

_START_SECONDS = 120  # a loaded machine imports torch slowly
_PERIOD = 0.03  # seconds between two looks of the watchdog
_LONGEST_REPORT = 2**16  # bytes of the report of a cell: its message is cut well below that
_MARKS = 100_000  # brackets and quotes in one line: a line of nothing else is 20 times larger in memory
_ERRORS = {
    name
    for name, kind in vars(builtins).items()
    if isinstance(kind, type) and issubclass(kind, BaseException)
}


@dataclass(frozen=True)
class CellReport:
    """What became of a cell: the class of its error or None, the error's text, and the line that raised it."""

    index: int
    error: str | None
    message: str = ""
    line: int | None = None


@dataclass
class Run:
    """What came back from a sandbox.

    cells: a report for every cell that came to its end.
    answers: one for every call: ``{"value": encoded}``, ``{"error": name of a builtin exception}``,
        ``{"undefined": True}`` (no such function) or ``{"missing": True}`` (never answered).
    stopped: None, or why it came to an end too early: "cpu time", "wall time", "memory", "processes", "output",
        "died" (the process ended by itself), "malformed" (something other than reports and answers came back).
    """

    cells: list[CellReport] = field(default_factory=list)
    answers: list[dict] = field(default_factory=list)
    stopped: str | None = None
    cpu_seconds: float = 0.0
    wall_seconds: float = 0.0
    peak_memory: int = 0


class _Stopped(Exception):
    """The reason why nothing more is to be expected."""


def run(
    cells: Sequence[str],
    calls: Sequence[dict] = (),
    *,
    packages: Sequence[str] = ("numpy", "torch"),
    limits: Limits | None = None,
    slot: int = 0,
    sandboxed: bool = True,
    extra: Sequence[Path] = (),
) -> Run:
    """Run the cells of a notebook, then the calls, in a fresh process of their own.

    cells: sources, in IPython's syntax; one that raises does not stop the next.
    calls: as ``wire.encode_call`` writes them.
    packages: distributions that can be imported, with what they require.
    slot: different for sandboxes at the same time.
    sandboxed: False runs the learner's code with all rights of the caller: for one's own notebooks only.
    extra: further files that can be read.

    Raises:
        SandboxError: the sandbox failed before the first cell ran.
        MissingPackage: a package that is not installed.
    """
    limits, packages, result = limits or Limits(), tuple(packages), Run()
    if sandboxed:
        started = launch.start(packages, tuple(extra), limits, slot)
    else:
        started = launch.start_plain(packages)
    try:
        talk = _Talk(started, limits)
        talk.send({"cells": list(cells), "calls": bool(calls), "limits": limits.of_a_process(sandboxed)})
        talk.wait_until_ready()
        try:
            for index in range(len(cells)):
                result.cells.append(_cell_report(index, talk.line(_LONGEST_REPORT)))
            for call in calls:
                talk.nothing_is_waiting()
                talk.send(call)
                result.answers.append(_answer(talk.line(limits.output)))
        except _Stopped as reason:
            result.stopped = str(reason)
        talk.watchdog.look()
        result.cpu_seconds = talk.watchdog.cpu_seconds
        result.wall_seconds = talk.watchdog.wall_seconds
        result.peak_memory = talk.watchdog.peak_memory
    finally:
        started.end()
    result.answers += [{"missing": True}] * (len(calls) - len(result.answers))
    return result


class _Talk:
    """Lines to a sandbox and from it, with an eye on the limits while waiting."""

    def __init__(self, started: Started, limits: Limits):
        self.watchdog = Watchdog(started.root, limits)
        self._started, self._limits = started, limits
        self._to_send, self._received = memoryview(b""), bytearray()
        self._searched, self._bytes = 0, 0
        self._watching, self._next_look = False, 0.0
        for pipe in (started.commands, started.reports):
            os.set_blocking(pipe, False)

    def send(self, message: dict) -> None:
        """Queue a message; it leaves while waiting for a line."""
        self._to_send = memoryview(bytes(self._to_send) + json.dumps(message).encode() + b"\n")

    def wait_until_ready(self) -> None:
        """Wait until the learner's first cell is about to run; the limits count from then on."""
        deadline = time.monotonic() + _START_SECONDS
        try:
            while not (line := self._next_line(_LONGEST_REPORT)):
                if time.monotonic() > deadline:
                    raise SandboxError(f"Python did not start within {_START_SECONDS} s")
        except _Stopped:
            self._started.process.kill()
            self._started.process.wait()
            raise SandboxError(self._started.complaints() or "Python ended before the first cell") from None
        if line != b'{"ready": true}':
            raise SandboxError(f"Python started with {line[:100]!r}")
        self.watchdog.start()
        self._watching = True

    def line(self, longest: int) -> bytes:
        """The next line, of at most so many bytes."""
        while (line := self._next_line(longest)) is None:
            pass
        return line

    def nothing_is_waiting(self) -> None:
        """Nobody answers before the question: a line that has come already is not an answer."""
        self._read()
        if self._received:
            raise _Stopped("malformed")

    def _next_line(self, longest: int) -> bytes | None:
        """A line if one is complete, else None after one wait for the pipes."""
        end = self._received.find(b"\n", self._searched)
        self._searched = len(self._received)
        if end > longest or (end < 0 and len(self._received) > longest):
            raise _Stopped("malformed")
        if end >= 0:
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            self._searched = 0
            return line
        alive = self._started.alive()
        waiting = select.poll()
        waiting.register(self._started.reports, select.POLLIN)
        if self._to_send:
            waiting.register(self._started.commands, select.POLLOUT)
        waiting.poll(_PERIOD * 1000)
        self._write()
        if not self._read() and not alive:
            raise _Stopped(self._cause_of_death())
        self._look()
        return None

    def _write(self) -> None:
        try:
            if self._to_send:
                self._to_send = self._to_send[os.write(self._started.commands, self._to_send) :]
        except BlockingIOError:
            pass
        except BrokenPipeError:
            self._to_send = memoryview(b"")

    def _read(self) -> bool:
        """Take what is there; whether there was anything."""
        try:
            data = os.read(self._started.reports, 2**16)
        except BlockingIOError:
            return False
        if not data:  # no more reports can come, whether it has ended or only closed the pipe
            raise _Stopped(self._cause_of_death())
        self._received += data
        self._bytes += len(data)
        if self._bytes > self._limits.output:
            raise _Stopped("output")
        return True

    def _look(self) -> None:
        if not self._watching or time.monotonic() < self._next_look:
            return
        before = time.monotonic()
        reason = self.watchdog.look()
        self._next_look = time.monotonic() + max(_PERIOD, 4 * (time.monotonic() - before))
        if reason:
            raise _Stopped(reason)

    def _cause_of_death(self) -> str:
        """The kernel enforces the limit on CPU time too, by one signal and a second later by another."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._started.process.wait(1)
        ended_by = abs(self._started.process.returncode or 0) % 128  # bwrap adds 128, Popen turns the sign
        late = self.watchdog.cpu_seconds >= self._limits.cpu_seconds
        return "cpu time" if ended_by == signal.SIGXCPU or (ended_by == signal.SIGKILL and late) else "died"


def _cell_report(index: int, line: bytes) -> CellReport:
    item = _parse(line)
    if item.keys() != {"cell", "error", "message", "line"} or item["cell"] is not index:
        raise _Stopped("malformed")
    error, message, number = item["error"], item["message"], item["line"]
    if not (error is None or type(error) is str) or type(message) is not str:
        raise _Stopped("malformed")
    if not (number is None or (type(number) is int and 0 < number < 10**6)):
        raise _Stopped("malformed")
    return CellReport(index, None if error is None else _text(error, 100), _text(message, 2000), number)


def _answer(line: bytes) -> dict:
    item = _parse(line)
    match list(item.items()):
        case [("value", dict())] | [("undefined", True)]:
            return item
        case [("error", str() as name)]:
            return {"error": name if name in _ERRORS else "Exception"}
    raise _Stopped("malformed")


def _parse(line: bytes) -> dict:
    """One object of standard JSON that is not much larger in memory than on the line."""
    if sum(map(line.count, (b"[", b"{", b'"'))) > _MARKS:
        raise _Stopped("malformed")
    try:
        item = json.loads(line, parse_constant=_refuse, parse_int=_small_int)
    except (ValueError, RecursionError):
        raise _Stopped("malformed") from None
    if not isinstance(item, dict):
        raise _Stopped("malformed")
    return item


def _refuse(word: str):
    raise ValueError(f"{word} is not JSON")


def _small_int(digits: str) -> int:
    if len(digits) > 20:
        raise ValueError("more digits than an integer of 64 bits has")
    return int(digits)


def _text(text: str, longest: int) -> str:
    return (
        text[:longest].encode(errors="replace").decode()
    )  # half a surrogate pair cannot be written to a file


@functools.cache
def available() -> str | None:
    """None when the sandbox works here, as one real start has shown; else what is missing and what helps."""
    if not sys.platform.startswith("linux"):
        return "The sandbox needs Linux: bubblewrap builds on its namespaces. On macOS and Windows use a container."
    for command, package in [("bwrap", "bubblewrap")] + [("setpriv", "util-linux")] * (os.geteuid() == 0):
        if not shutil.which(command):
            return f"The command {command} is missing: install the package {package}."
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        return "The kernel does not list the children of processes (CONFIG_PROC_CHILDREN), which the limits need."
    try:
        seccomp.program()
        result = run(["1 + 1"], packages=())
    except (SandboxError, ValueError, OSError) as error:
        return f"The sandbox does not start: {error}{_remedy(str(error))}"
    if result.stopped or result.cells[0].error:
        return f"The sandbox starts but does not run Python: {result}"
    return None


def _remedy(complaint: str) -> str:
    if "amespace" in complaint or "uid map" in complaint or "RTM_NEWADDR" in complaint:
        return (
            "\nUser namespaces are not allowed here. On Ubuntu 23.10 and later give bwrap an AppArmor profile that "
            "allows `userns`, or set kernel.apparmor_restrict_unprivileged_userns=0; in a container, allow them; "
            "or run the grader as root, which needs none."
        )
    if "Permission denied" in complaint:
        return "\nPython, its packages and the course must be readable for every user of this machine."
    return ""
