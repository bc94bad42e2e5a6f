"""The sandbox for those who are not root, where bwrap makes a user namespace: the same tests once more."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.exercises.grading.test_sandbox import DENIED

COURSE = Path(__file__).parents[3]
OTHER_USER = 12345
TESTS = (
    "cells_share or threads_subprocesses or rights or no_cell_gets or environment or full_at or nobody or "
    "(memory and children) or (memory and sockets) or fork_bomb or left_behind or grader_is_killed or available"
)

pytestmark = pytest.mark.skipif(not shutil.which("bwrap"), reason="bubblewrap is not installed")


def as_other_user(home: Path) -> list[str]:
    """The start of a command that runs as a user without rights, to whom Python and the course are readable."""
    places = {Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), COURSE, home}
    closed = {folder for place in places for folder in place.parents if not folder.stat().st_mode & 1}
    opened = [word for folder in sorted(closed) for word in ("--perms", "0755", "--tmpfs", folder)]
    bound = [word for place in sorted(places) if closed & set(place.parents) for word in _bind(place, closed)]
    user = [f"--reuid={OTHER_USER}", f"--regid={OTHER_USER}", "--clear-groups", "--bounding-set=-all"]
    command = ["bwrap", "--dev-bind", "/", "/", *opened, *bound, "--", "setpriv", *user, "--inh-caps=-all"]
    environment = [f"PATH={os.environ['PATH']}", f"HOME={home}", "PYTHONDONTWRITEBYTECODE=1"]
    return [*map(str, command), "env", "-i", *environment]


def _bind(place: Path, closed: set[Path]):
    for folder in reversed([parent for parent in place.parents if closed & set(parent.parents)]):
        yield from ("--perms", "0755", "--dir", folder)
    yield from ("--bind", place, place)


@pytest.mark.skipif(os.geteuid() != 0, reason="the other tests have just been run without root")
def test_all_of_this_holds_without_root(tmp_path):
    os.chown(tmp_path, OTHER_USER, OTHER_USER)
    options = ["-q", "-p", "no:cacheprovider", "-k", TESTS, f"--basetemp={tmp_path / 'base'}"]
    tests = str(Path(__file__).with_name("test_sandbox.py"))
    command = [*as_other_user(tmp_path), sys.executable, "-m", "pytest", *options, tests]
    done = subprocess.run(command, cwd=COURSE, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
    assert int(re.search(r"(\d+) passed", done.stdout)[1]) > len(DENIED) + 8
