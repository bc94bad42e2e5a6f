"""How much a learner's notebook may use, and the watchdog that measures it from outside, over all its processes."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

KIB, MIB, GIB = 2**10, 2**20, 2**30

# Programs reserve far more addresses than memory: torch with CUDA 5 GiB, every thread 72 MiB.
_ADDRESSES = 8 * GIB
_FILES = 256  # open at once in one process
_SOCKET, _INODE = (
    416 * KIB,
    KIB,
)  # bytes at most: a socket's buffer as large as may be asked for, a file's entry
_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Limits:
    """Limits of one notebook, its cells and calls together, counted from the first cell on.

    cpu_seconds: of all its processes.
    wall_seconds: a backstop for what waits, ``None`` for three times the CPU time and 30 s; waiting for a
        processor of a busy machine does not count.
    memory: bytes in all processes; processes: at a time; disk: bytes in ``/tmp``, and again in ``/dev/shm``.
    output: bytes of reports and answers.
    """

    cpu_seconds: float = 60.0
    wall_seconds: float | None = None
    memory: int = 2 * GIB
    processes: int = 64
    disk: int = 64 * MIB
    output: int = 16 * MIB

    @property
    def wall(self) -> float:
        """Seconds after which a notebook is stopped whatever it does."""
        return 3 * self.cpu_seconds + 30 if self.wall_seconds is None else self.wall_seconds

    def of_a_process(self, own_user: bool) -> dict[str, int]:
        """Resource limits for each process, by the names that the module ``resource`` has for them.

        own_user: the kernel counts no processes but the notebook's own as those of its user.

        They hold from one moment to the next where the watchdog looks only now and then: they are wider than
        what it allows, so that in the ordinary case it is the watchdog that stops a notebook, and says why.
        """
        processes = {"RLIMIT_NPROC": 2 * self.processes} if own_user else {}  # threads count too
        return {
            **processes,
            "RLIMIT_CPU": math.ceil(self.cpu_seconds) + 1,
            "RLIMIT_AS": self.memory + _ADDRESSES,
            "RLIMIT_FSIZE": self.disk,
            "RLIMIT_NOFILE": _FILES,
            "RLIMIT_CORE": 1,  # 0 would still start a program that collects crashes, see core(5)
            "RLIMIT_MEMLOCK": 0,
        }


@dataclass
class Watchdog:
    """Adds up, from /proc, what a process and all its descendants use.

    Every ``look`` costs some 50 microseconds a process.
    """

    root: int
    limits: Limits
    sandboxed: bool = True
    cpu_seconds: float = 0.0
    peak_memory: int = 0
    _starved: float = 0.0
    _before: tuple[float, float] = (0.0, 0.0)  # CPU time and starved time at the start
    _own: dict[tuple[int, int], float] = field(default_factory=dict)
    _started: float = field(default_factory=time.monotonic)

    def start(self) -> None:
        """Count CPU and wall time from now on."""
        self.look()
        self._before = (self.cpu_seconds, self._starved)
        self.cpu_seconds, self._starved = 0.0, 0.0
        self._started = time.monotonic()

    @property
    def wall_seconds(self) -> float:
        """Time since ``start``."""
        return time.monotonic() - self._started

    def look(self) -> str | None:
        """Measure once; the limit that is broken, or None."""
        processes = [self.root, *descendants(self.root)]
        program = processes[1] if self.sandboxed and len(processes) > 1 else self.root
        self._starved = max(self._starved, _starved(program) - self._before[1])
        self._measure_cpu(processes)
        memory = sum(map(_resident, processes))
        if memory > self.limits.memory:  # pages that forked processes share count once
            memory = sum(map(_proportional, processes))
        if self.sandboxed:
            memory += _in_the_kernel(self.root)
        self.peak_memory = max(self.peak_memory, memory)
        if self.cpu_seconds > self.limits.cpu_seconds:
            return "cpu time"
        if memory > self.limits.memory:
            return "memory"
        if len(processes) > self.limits.processes:
            return "processes"
        starved = min(self._starved, 2 * self.limits.wall)  # who asks to be starved gets no more
        return "wall time" if self.wall_seconds - starved > self.limits.wall else None

    def _measure_cpu(self, processes: list[int]) -> None:
        """Two counts, each of which misses something, and the larger of them.

        The kernel adds the time of a child to its parent when the parent waits for it, and drops it when the
        parent ignores the end of its children.  What was seen here of every process is never dropped, but
        misses what ran between two looks.
        """
        waited_for = 0.0
        for process in processes:
            usage = _cpu(process)
            if usage:
                started, own, children = usage
                self._own[process, started] = own
                waited_for += own + children
        total = max(waited_for, sum(self._own.values()))
        self.cpu_seconds = max(self.cpu_seconds, total - self._before[0])


def descendants(root: int) -> Iterator[int]:
    """All processes below one."""
    waiting = [root]
    while waiting:
        for children in _children(waiting.pop()):
            waiting += children
            yield from children


def _children(process: int) -> Iterator[list[int]]:
    """The children of each of its threads."""
    tasks = f"/proc/{process}/task"
    with suppress(OSError):
        for thread in os.listdir(tasks):
            with suppress(OSError), open(f"{tasks}/{thread}/children", "rb") as file:
                yield [int(word) for word in file.read().split()]


def _cpu(process: int) -> tuple[int, float, float] | None:
    """Start time, own CPU seconds, and those of its children that it has waited for."""
    try:
        fields = Path(f"/proc/{process}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return None
    user, system, children_user, children_system = map(int, fields[11:15])
    return int(fields[19]), (user + system) / _TICK, (children_user + children_system) / _TICK


def _starved(process: int) -> float:
    """Seconds that a process could have run in and was not given a processor."""
    try:
        return int(Path(f"/proc/{process}/schedstat").read_bytes().split()[1]) / 1e9
    except (OSError, IndexError):
        return 0.0


def _resident(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_bytes().split()[1]) * _PAGE
    except OSError:
        return 0


def _in_the_kernel(process: int) -> int:
    """Bytes that a sandbox has the kernel hold and that no limit counts: buffers of sockets, names of empty files."""
    memory = 0
    with suppress(OSError, ValueError):
        with open(f"/proc/{process}/net/sockstat", "rb") as file:
            memory += int(file.readline().split()[2]) * _SOCKET
        for folder in ("tmp", "dev/shm"):
            usage = os.statvfs(f"/proc/{process}/root/{folder}")
            memory += (usage.f_files - usage.f_ffree) * _INODE
    return memory


def _proportional(process: int) -> int:
    """Resident bytes, of which those shared with others count in part."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return _resident(process)
    sizes = [int(line.split()[1]) for line in lines if line.startswith("Pss:")]
    return sum(sizes) * KIB
