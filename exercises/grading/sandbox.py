"""Run a learner's cells and calls of the learner's functions where they can do no harm, and bring back plain data.

    result = run(cells, calls, packages=("numpy", "torch"), limits=Limits())

The calls are sent after the last cell has reported, one after the other, and each answer comes back at once: what
was answered before a crash counts.  What comes back is checked for its form only; what the answers are worth is
decided by the trusted process.
"""

from __future__ import annotations

import functools
import os
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from exercises.grading import launch, reports, seccomp
from exercises.grading.limits import Limits
from exercises.grading.mounts import SandboxError
from exercises.grading.reports import CellReport
from exercises.grading.talk import Stopped, Talk

__all__ = ["CellReport", "Limits", "Run", "SandboxError", "available", "run"]


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


def run(
    cells: Sequence[str],
    calls: Sequence[dict] = (),
    *,
    packages: Sequence[str] = ("numpy", "torch"),
    limits: Limits | None = None,
    slot: int = 0,
    sandboxed: bool = True,
) -> Run:
    """Run the cells of a notebook, then the calls, in a fresh process of their own.

    cells: sources, in IPython's syntax; one that raises does not stop the next.
    calls: as ``wire.encode_call`` writes them.
    packages: distributions that can be imported, with what they require.
    slot: different for sandboxes at the same time.
    sandboxed: False runs the learner's code with all rights of the caller: for one's own notebooks only.

    Raises:
        SandboxError: the sandbox failed before the first cell ran, or a package is not installed.
    """
    limits, packages, result = limits or Limits(), tuple(packages), Run()
    if sandboxed:
        started = launch.start(packages, limits, slot)
    else:
        started = launch.start_plain(packages)
    try:
        talk = Talk(started, limits)
        of_a_process = limits.of_a_process(sandboxed and launch.counts_own_processes())
        talk.send({"cells": list(cells), "calls": bool(calls), "limits": of_a_process})
        talk.wait_until_ready()
        try:
            for index in range(len(cells)):
                result.cells.append(reports.cell_report(index, talk.line(reports.LONGEST)))
            for call in calls:
                talk.nothing_is_waiting()
                talk.send(call)
                result.answers.append(reports.answer(talk.line(limits.output)))
        except Stopped as reason:
            result.stopped = str(reason)
        except reports.Malformed:
            result.stopped = "malformed"
        talk.watchdog.look()
        result.cpu_seconds = talk.watchdog.cpu_seconds
        result.wall_seconds = talk.watchdog.wall_seconds
        result.peak_memory = talk.watchdog.peak_memory
    finally:
        started.end()
    result.answers += [{"missing": True}] * (len(calls) - len(result.answers))
    return result


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
    if any(word in complaint for word in ("amespace", "uid map", "RTM_NEWADDR", "slave", "mount proc")):
        return (
            "\nUser namespaces are not allowed here. On Ubuntu 23.10 and later give bwrap an AppArmor profile that "
            "allows `userns`, or set kernel.apparmor_restrict_unprivileged_userns=0; in a container, allow them; "
            "or run the grader as root, which needs none."
        )
    if "Permission denied" in complaint:
        return "\nPython, its packages and the course must be readable for every user of this machine."
    return ""
