"""A sandbox that does not start, or ends early: it says why, and neither files nor processes stay open."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from exercises.grading import launch, mounts, sandbox
from exercises.grading.limits import Limits, descendants

pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """Replace commands by shell scripts, for which no other is found."""

    def replace(**scripts: str) -> None:
        for name, script in scripts.items():
            path = tmp_path / name
            path.write_text(f"#!/bin/sh\n{script}\n")
            path.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path))

    return replace


def open_files() -> list[str]:
    """What this process has open."""
    return sorted(os.listdir("/proc/self/fd"))


def run(*cells: str, **options) -> sandbox.Run:
    return sandbox.run(cells, packages=(), **options)


def test_no_file_or_process_stays_open_however_a_sandbox_ends(monkeypatch):
    run("1")
    before = open_files()
    run("1")
    run("import os; os._exit(1)")
    run("while True: pass", limits=Limits(cpu_seconds=0.1))
    run("1", sandboxed=False)
    monkeypatch.setattr(mounts, "interpreter", lambda: Path("/bin/false"))
    with pytest.raises(sandbox.SandboxError):
        run("1")
    with pytest.raises(sandbox.SandboxError):
        run("1", slot=10**6)
    assert open_files() == before
    assert list(descendants(os.getpid())) == []


def test_bwrap_that_does_not_start_is_quoted(commands):
    commands(bwrap="echo bwrap: no permissions to create a new namespace >&2; exit 1", setpriv="")
    with pytest.raises(sandbox.SandboxError, match="no permissions to create a new namespace"):
        run("1")


def test_python_that_does_not_start_is_quoted(monkeypatch):
    monkeypatch.setattr(launch, "_INSIDE", ("-c", "raise SystemExit('no such module')"))
    with pytest.raises(sandbox.SandboxError, match="no such module"):
        run("1")
    monkeypatch.setattr(launch, "_INSIDE", ("-c", "import os, sys; os.write(int(sys.argv[2]), b'hello\\n')"))
    with pytest.raises(sandbox.SandboxError, match="hello"):
        run("1")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root chooses users")
def test_the_number_of_sandboxes_is_limited_by_their_users():
    with pytest.raises(sandbox.SandboxError, match="slot"):
        run("1", slot=500)


def test_what_is_missing_is_named_with_its_remedy(commands, monkeypatch):
    available = sandbox.available.__wrapped__
    commands(setpriv="")
    assert "install the package bubblewrap" in available()
    commands(bwrap="echo bwrap: setting up uid map: Permission denied >&2; exit 1", setpriv="")
    assert "Permission denied" in available()
    assert "AppArmor" in available()
    monkeypatch.setattr(sys, "platform", "darwin")
    assert "Linux" in available()
