"""Start the program that runs a learner's cells, in bubblewrap or as a plain child, and end it without remains."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from exercises.grading import mounts, seccomp
from exercises.grading.limits import Limits, descendants
from exercises.grading.mounts import SandboxError

# Users of sandboxes, one each: the kernel counts processes by user, so that in a shared one the fork bomb of a
# learner would leave no process for another.  System accounts end below, "nobody" is above.
_FIRST_USER, _USERS = 65000, 500
_KILL_SECONDS = 30
_INSIDE = ("-s", "-P", "-B", "-m", "exercises.grading.inside")


@dataclass
class Started:
    """A running program: pipes to it and from it, and the process above all of its processes."""

    process: subprocess.Popen
    commands: int
    reports: int
    root: int
    keep: ExitStack  # what must last as long

    def alive(self) -> bool:
        """Whether the program still runs; processes that it left behind do not count."""
        return self.process.poll() is None

    def complaints(self) -> str:
        """What bwrap and Python wrote before the first cell."""
        os.set_blocking(self.process.stderr.fileno(), False)
        return (self.process.stderr.read() or b"").decode(errors="replace").strip()[-2000:]

    def end(self) -> None:
        """Kill everything in it, wait until nothing is left, and close the pipes.

        Raises:
            SandboxError: some process does not go away.
        """
        with self.keep:
            self._kill()

    def _kill(self) -> None:
        while left := [self.process.pid] * self.alive() + list(descendants(self.process.pid)):
            for process in left:
                with suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
            time.sleep(0.01)
        with suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)


@dataclass
class StartedSandbox(Started):
    """In a process space of its own, whose first process is ``root``."""

    pidfd: int = -1

    def _kill(self) -> None:
        """With the first process of its space the kernel kills all others, and it ends after them."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, signal.SIGKILL)
        gone = select.poll()
        gone.register(self.pidfd, select.POLLIN)
        if not gone.poll(_KILL_SECONDS * 1000):
            raise SandboxError(f"process {self.root} does not end after SIGKILL")
        self.process.wait()
        with suppress(
            ChildProcessError
        ):  # ours to bury only where the grader is the first process of a container
            os.waitid(os.P_PIDFD, self.pidfd, os.WEXITED)


def start(packages: tuple[str, ...], limits: Limits, slot: int) -> Started:
    """A sandbox in which the program waits for its first command.

    Under root bwrap mounts as root and ``setpriv`` becomes a user that owns nothing; for anyone else bwrap makes
    a user namespace.

    Raises:
        SandboxError: bwrap does not start, and its own words; or a package is not installed.
    """
    with ExitStack() as keep, ExitStack() as given:
        user, become, rights = _user(slot, keep)
        files = {name: _file(content, given) for name, content in mounts.etc(user).items()}
        info, told = (
            given.enter_context(os.fdopen(end, mode))
            for end, mode in zip(os.pipe(), ("rb", "wb"), strict=True)
        )
        filter_ = _file(seccomp.program(), given)
        options = [
            *rights,
            *("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
            *("--hostname", "sandbox", "--new-session", "--die-with-parent", "--clearenv"),
            *(w for name, value in mounts.environment(packages).items() for w in ("--setenv", name, value)),
            *mounts.options(packages, files, limits.disk),
            *("--seccomp", str(filter_), "--info-fd", str(told.fileno())),
        ]
        # Given as a file they do not show up in the list of processes, the sandbox's own list included.
        arguments = _file("\0".join(options).encode(), given)
        command = [
            _command("bwrap"),
            "--args",
            str(arguments),
            "--",
            *become,
            str(mounts.interpreter()),
            *_INSIDE,
        ]
        passed = (*files.values(), filter_, told.fileno(), arguments)
        process, pipes = _popen(command, keep, env={}, pass_fds=passed)
        told.close()
        try:
            root = json.loads(info.read())["child-pid"]
            pidfd = os.pidfd_open(root)
        except (ValueError, KeyError, ProcessLookupError):
            process.kill()
            complaint = process.communicate()[1].decode(errors="replace").strip()
            raise SandboxError(complaint or "bwrap ended without a word") from None
        keep.callback(os.close, pidfd)
        return StartedSandbox(process, *pipes, root, keep.pop_all(), pidfd)


def counts_own_processes() -> bool:
    """Whether the kernel counts a sandbox's processes apart from all others of whoever runs the grader.

    It does so by user, and since Linux 5.14 also by user namespace.
    """
    release = tuple(map(int, re.findall(r"\d+", os.uname().release)[:2]))
    return os.geteuid() == 0 or release >= (5, 14)


def start_plain(packages: tuple[str, ...]) -> Started:
    """The same program as a plain child, with the rights and the view of whoever starts it."""
    with ExitStack() as keep:
        folder = keep.enter_context(TemporaryDirectory(prefix="notebook-"))
        environment = {**mounts.environment(packages, folder), "PATH": os.environ.get("PATH", os.defpath)}
        command = [sys.executable, *_INSIDE]
        process, pipes = _popen(command, keep, env=environment, cwd=folder, start_new_session=True)
        return Started(process, *pipes, process.pid, keep.pop_all())


def _popen(command: list[str], keep: ExitStack, pass_fds=(), **options):
    """Start a command with two more pipes, whose numbers become its last two arguments; the process, our ends."""
    commands, to_commands = os.pipe()
    from_reports, reports = os.pipe()
    for end in (to_commands, from_reports):
        keep.callback(os.close, end)
    try:
        process = subprocess.Popen(
            [*command, str(commands), str(reports)],
            pass_fds=(*pass_fds, commands, reports),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            **options,
        )
    finally:
        os.close(commands)
        os.close(reports)
    keep.callback(process.stderr.close)
    return process, (to_commands, from_reports)


def _user(slot: int, keep: ExitStack) -> tuple[int, list[str], list[str]]:
    """The user inside, the command that becomes it there, and the options that let bwrap do so."""
    if os.geteuid() != 0:
        numbers = ("--uid", str(_FIRST_USER), "--gid", str(_FIRST_USER))
        return _FIRST_USER, [], ["--unshare-user", *numbers, "--cap-drop", "ALL"]
    user = _reserve_user(slot, keep)
    capabilities = [word for name in ("SETUID", "SETGID", "SETPCAP") for word in ("--cap-add", f"CAP_{name}")]
    drop = (
        "--clear-groups",
        "--inh-caps=-all",
        "--ambient-caps=-all",
        "--bounding-set=-all",
        "--no-new-privs",
    )
    become = [_command("setpriv"), f"--reuid={user}", f"--regid={user}", *drop, "--"]
    return user, become, ["--cap-drop", "ALL", *capabilities]


def _reserve_user(slot: int, keep: ExitStack) -> int:
    """A user that no other sandbox of this machine has as long as this one lasts."""
    for user in range(_FIRST_USER + slot, _FIRST_USER + _USERS):
        lock = keep.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        with suppress(OSError):
            lock.bind(f"\0notebook-sandbox-{user}")
            return user
    raise SandboxError(f"slot: expected less than {_USERS} sandboxes at a time, got {slot}")


def _command(name: str) -> str:
    path = shutil.which(name)
    if not path:
        raise SandboxError(f"{name}: command not found")
    return path


def _file(content: bytes, given: ExitStack) -> int:
    """A file in memory that bwrap reads once, by its number."""
    descriptor = os.memfd_create("option")
    given.callback(os.close, descriptor)
    os.write(descriptor, content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor
