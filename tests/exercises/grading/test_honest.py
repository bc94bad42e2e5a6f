"""Honest solutions in many styles through the whole grader, in one run: not one loses a point."""

from __future__ import annotations

import csv
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from exercises.grading.sandbox import available
from tests.exercises.grading.honest import HONEST

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Lines of grades.csv by student."""
    folder = tmp_path_factory.mktemp("honest")
    with zipfile.ZipFile(folder / "submitted.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in HONEST.items():
            archive.writestr(f"{name}/ntk_matrix.ipynb", content)
    command = [
        sys.executable,
        "-m",
        "exercises.grading",
        str(folder / "submitted.zip"),
        "--out",
        str(folder / "out"),
    ]
    done = subprocess.run(
        command, cwd=Path(__file__).resolve().parents[3], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-5000:]
    with (folder / "out/grades.csv").open(newline="", encoding="utf-8") as table:
        return {row["student"]: row for row in csv.DictReader(table)}


def test_there_are_at_least_fifty():
    assert len(HONEST) >= 50


@pytest.mark.parametrize("name", HONEST)
def test_honest_solution_has_all_points_of_the_functions(rows, name):
    row = rows[name]
    assert (row["status"], row["score"]) == ("graded", "13"), row["reason"]
