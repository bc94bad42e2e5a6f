"""The command line: what it refuses, what it says, its exit status; one run of each kind for real."""

from __future__ import annotations

import csv
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from exercises.grading import __main__ as command
from exercises.grading import sandbox
from exercises.grading.run import Options
from tests.exercises.grading.samples import QUICK, code, filled_in, notebook

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def submitted(tmp_path):
    """One student's notebook, and one that is not attempted."""
    for student, content in {"alice": notebook([code(QUICK)]), "bob": filled_in({})}.items():
        (tmp_path / "in" / student).mkdir(parents=True)
        (tmp_path / "in" / student / "ntk_matrix.ipynb").write_bytes(content)
    return tmp_path / "in"


def grading(*arguments) -> subprocess.CompletedProcess:
    """``python -m exercises.grading`` with these arguments."""
    line = [sys.executable, "-m", "exercises.grading", *map(str, arguments)]
    return subprocess.run(line, cwd=REPOSITORY, capture_output=True, text=True, check=False)


def scores(out: Path) -> dict[str, str]:
    with (out / "grades.csv").open(newline="", encoding="utf-8") as table:
        return {row["student"]: row["score"] for row in csv.DictReader(table)}


@pytest.mark.skipif(sandbox.available() is not None, reason=str(sandbox.available()))
def test_command_grades_in_the_sandbox_and_says_where_everything_is(submitted, tmp_path):
    done = grading(submitted, "--out", tmp_path / "out", "--jobs", 2, "--problem", "ntk_matrix", "--seed", 5)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("2 graded, 0 stopped, 0 rejected, 0 failed\n")
    assert scores(tmp_path / "out") == {"alice": "13", "bob": "0"}
    for line in done.stdout.splitlines()[1:]:
        assert Path(line.split(":")[0]).exists()
    again = grading(submitted, "--out", tmp_path / "out")
    assert again.returncode == 0
    assert again.stdout == done.stdout
    assert "computing" not in again.stderr


def test_own_notebook_runs_without_a_sandbox_after_a_loud_warning(submitted, tmp_path):
    done = grading(submitted, "--out", tmp_path / "out", "--without-sandbox")
    assert (done.returncode, "WITHOUT A SANDBOX" in done.stderr) == (2, True)
    assert "those of 2 students" in done.stderr
    (submitted / "bob/ntk_matrix.ipynb").unlink()
    (submitted / "bob").rmdir()
    done = grading(submitted, "--out", tmp_path / "out", "--without-sandbox", "--jobs", 1)
    assert done.returncode == 0, done.stderr
    assert "WITHOUT A SANDBOX" in done.stderr
    assert scores(tmp_path / "out") == {"alice": "13"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "the following arguments are required: SUBMITTED, --out"),
        (["in"], "the following arguments are required: --out"),
        (["in", "--out", "out", "--jobs", "0"], "--jobs: expected 1 to 64, got '0'"),
        (["in", "--out", "out", "--jobs", "many"], "--jobs: expected 1 to 64, got 'many'"),
        (["in", "--out", "out", "--cpu-seconds", "0"], "--cpu-seconds: expected a number of seconds"),
        (["in", "--out", "out", "--cpu-seconds", "nan"], "--cpu-seconds: expected a number of seconds"),
        (["in", "--out", "out", "--seed", "x"], "--seed: invalid int value: 'x'"),
        (["in", "--out", "out", "--force"], "unrecognized arguments: --force"),
    ],
)
def test_wrong_arguments_are_named(arguments, message, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_refusals_are_one_line_and_status_2(submitted, tmp_path, capsys):
    for arguments, message in (
        ([tmp_path / "nothing"], "error: SUBMITTED: cannot open"),
        ([submitted, "--problem", "nothing"], "error: --problem: expected one of"),
        ([submitted, "--seed", -1], "error: seed: expected 0 to"),
        ([submitted, "--roster", tmp_path / "nothing"], "error: --roster: there is no file"),
    ):
        assert command.main([str(word) for word in (*arguments, "--out", tmp_path / "out")]) == 2
        said = capsys.readouterr().err
        assert said.startswith(message)
        assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("statuses", "status"),
    [({"graded": 3}, 0), ({"rejected": 2, "stopped": 1}, 0), ({"graded": 3, "failed": 1}, 1)],
)
def test_status_is_1_only_if_the_grader_failed(statuses, status, monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(command, "run", lambda options: Counter(statuses))
    assert command.main(["in", "--out", str(tmp_path / "out")]) == status
    said = capsys.readouterr().out
    assert all(f"{count} {name}" in said for name, count in statuses.items())


def test_options_reach_the_run(monkeypatch, tmp_path):
    seen = []
    monkeypatch.setattr(command, "run", lambda options: seen.append(options) or Counter())
    line = "in --out out --jobs 3 --problem a --problem b --cpu-seconds 7.5 --seed 4 --roster students.csv"
    command.main(line.split())
    assert seen == [Options(Path("in"), Path("out"), 3, ("a", "b"), 7.5, 4, Path("students.csv"), True, True)]


def test_interrupted_run_says_how_to_go_on(monkeypatch, capsys, tmp_path):
    def interrupted(options):
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "run", interrupted)
    assert command.main(["in", "--out", str(tmp_path)]) == 130
    assert "goes on from here" in capsys.readouterr().err
