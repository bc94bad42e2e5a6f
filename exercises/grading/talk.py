"""The conversation with a sandbox: lines of JSON through two pipes, with an eye on the limits while waiting."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import time

from exercises.grading import reports
from exercises.grading.launch import Started, StartedSandbox
from exercises.grading.limits import Limits, Watchdog
from exercises.grading.mounts import SandboxError

_START_SECONDS = 300  # a loaded machine imports torch slowly
_PERIOD = 0.03  # seconds between two looks of the watchdog


class Stopped(Exception):
    """The reason why nothing more is to be expected."""


class Talk:
    """The grader's side of the conversation."""

    def __init__(self, started: Started, limits: Limits):
        self.watchdog = Watchdog(started.root, limits, sandboxed=isinstance(started, StartedSandbox))
        self._started, self._limits = started, limits
        self._to_send, self._received = memoryview(b""), bytearray()
        self._searched, self._bytes = 0, 0
        self._watching, self._next_look, self._broken = False, 0.0, None
        for pipe in (started.commands, started.reports):
            os.set_blocking(pipe, False)

    def send(self, message: dict) -> None:
        """Queue a message; it leaves while waiting for a line."""
        self._to_send = memoryview(bytes(self._to_send) + json.dumps(message).encode() + b"\n")

    def wait_until_ready(self) -> None:
        """Wait until the learner's first cell is about to run; the limits count from then on."""
        deadline = time.monotonic() + _START_SECONDS
        try:
            while not (line := self._next_line(reports.LONGEST)):
                if time.monotonic() > deadline:
                    raise SandboxError(f"Python did not start within {_START_SECONDS} s")
        except Stopped:
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
            raise Stopped("malformed")

    def _next_line(self, longest: int) -> bytes | None:
        """A line if one is complete, else None after one wait for the pipes."""
        end = self._received.find(b"\n", self._searched)
        self._searched = len(self._received)
        if end > longest or (end < 0 and len(self._received) > longest):
            raise Stopped("malformed")
        if end >= 0:
            line = bytes(self._received[:end])
            del self._received[: end + 1]
            self._searched = 0
            return line
        if self._broken:
            raise Stopped(self._broken)
        alive = self._started.alive()
        waiting = select.poll()
        waiting.register(self._started.reports, select.POLLIN)
        if self._to_send:
            waiting.register(self._started.commands, select.POLLOUT)
        waiting.poll(_PERIOD * 1000)
        self._write()
        self._look()  # before reading: what was said until then counts
        if not self._read() and not alive:
            raise Stopped(self._cause_of_death())
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
            raise Stopped(self._cause_of_death())
        self._received += data
        self._bytes += len(data)
        if self._bytes > self._limits.output:
            raise Stopped("output")
        return True

    def _look(self) -> None:
        if not self._watching or time.monotonic() < self._next_look:
            return
        before = time.monotonic()
        self._broken = self.watchdog.look()
        self._next_look = time.monotonic() + max(_PERIOD, 4 * (time.monotonic() - before))

    def _cause_of_death(self) -> str:
        """The kernel enforces the limit on CPU time too, by one signal and a second later by another."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._started.process.wait(1)
        ended_by = abs(self._started.process.returncode or 0) % 128  # bwrap adds 128, Popen turns the sign
        late = self.watchdog.cpu_seconds >= self._limits.cpu_seconds
        if self._broken:
            return self._broken
        return "cpu time" if ended_by == signal.SIGXCPU or (ended_by == signal.SIGKILL and late) else "died"
