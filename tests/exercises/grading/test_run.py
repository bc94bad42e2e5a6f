"""A run is a function of what was handed in and its seed: order, jobs, interruptions and repetitions change nothing."""

from __future__ import annotations

import csv
import functools
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from exercises.grading import run as running
from exercises.grading import sandbox, wire
from exercises.grading.grade import grade
from exercises.grading.run import Options, UsageError, run
from exercises.grading.sandbox import CellReport, Run, SandboxError
from exercises.grading.store import StoreError
from exercises.grading.submissions import ArchiveError
from exercises.grading.tables import TableError
from tests.exercises.grading import samples
from tests.exercises.grading.samples import NTK, QUICK, code, filled_in, notebook, text

WRONG = QUICK.replace("return ntk_blocks(model, x, x)", "return ntk_blocks(model, x, x) / len(x)")
FILES = {
    "alice/ntk_matrix.ipynb": notebook([code(QUICK), text("Because.", "answer")]),
    "bob/definition/ntk_matrix.ipynb": notebook([code(WRONG)]),
    "carl/ntk_matrix.ipynb": filled_in({}),
    "dora/ntk-matrix.ipynb": b"{}",
    "emil/ntk_matrix.ipynb": b"",
    "faye/ntk_matrix.ipynb": notebook([code("1 / 0")]),
}
SCORES = {"alice": "13", "bob": "10", "carl": "0", "dora": "0", "emil": "0", "faye": "0"}


def run_here(cells, calls, **options) -> Run:
    """In place of the sandbox, for the notebooks of these tests: the same in this process."""
    namespace, reports = {}, []
    for index, source in enumerate(cells):
        try:
            exec(source, namespace)
            reports.append(CellReport(index, None))
        except Exception as error:
            reports.append(CellReport(index, type(error).__name__, str(error), 1))
    return Run(reports, [wire.answer(call, namespace) for call in calls])


@pytest.fixture(autouse=True)
def runs(monkeypatch):
    """Every run of a notebook, as its cells; no sandbox is used."""
    seen = []

    def counted(cells, calls, **options):
        seen.append(cells)
        return run_here(cells, calls)

    monkeypatch.setattr(running, "grade", functools.partial(grade, run=counted))
    monkeypatch.setattr(sandbox, "available", lambda: None)
    return seen


def hand_in(folder: Path, files=FILES, seed: int = 0) -> Path:
    """A folder of submissions, written in random order, with equal times."""
    names = list(files)
    random.Random(seed).shuffle(names)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(files[name])
        os.utime(path, (10**9, 10**9))
    return folder


def graded(submitted: Path, out: Path, **options) -> dict[str, dict[str, str]]:
    """Lines of grades.csv by student."""
    run(Options(submitted, out, progress=False, **{"seed": 7, **options}))
    with (out / "grades.csv").open(newline="", encoding="utf-8") as table:
        return {row["student"]: row for row in csv.DictReader(table)}


def contents(out: Path) -> dict[str, bytes]:
    """Everything that was written."""
    return {str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()}


def test_everything_that_was_handed_in_has_a_line_a_page_and_a_reason(tmp_path):
    rows = graded(hand_in(tmp_path / "in"), tmp_path / "out")
    assert {student: row["score"] for student, row in rows.items()} == SCORES
    assert {row["max_score"] for row in rows.values()} == {"17"}
    assert {row["submitted_at"] for row in rows.values()} == {"2001-09-09T01:46:40Z"}
    assert rows["alice"]["reason"] == "all checks passed; 4 of 17 points await marks"
    assert rows["bob"]["reason"].startswith("`ntk_matrix`: 1 of 4 checks right (constant factor)")
    assert rows["carl"]["reason"].startswith("not attempted: `ntk_matrix`, `ntk_blocks`")
    assert "must be called ntk_matrix.ipynb" in rows["dora"]["reason"]
    assert rows["emil"]["reason"].startswith("empty file")
    assert "cell 1 raised ZeroDivisionError: division by zero" in rows["faye"]["reason"]
    for student in SCORES:
        assert (tmp_path / "out/feedback" / student / "ntk_matrix.html").exists()
    assert (tmp_path / "out/summary.html").exists()
    assert (tmp_path / "out/marks/ntk_matrix.csv").exists()


def test_order_and_jobs_and_packing_change_no_byte(tmp_path):
    first = hand_in(tmp_path / "a")
    graded(first, tmp_path / "out1")
    graded(hand_in(tmp_path / "b", seed=1), tmp_path / "out2", jobs=5)
    packed = shutil.make_archive(str(tmp_path / "c"), "gztar", first)
    graded(Path(packed), tmp_path / "out3", jobs=2)
    assert contents(tmp_path / "out1") == contents(tmp_path / "out2") == contents(tmp_path / "out3")


def test_unchanged_submissions_are_not_run_twice(tmp_path, runs):
    submitted, out = hand_in(tmp_path / "in"), tmp_path / "out"
    graded(submitted, out)
    before, count = contents(out), len(runs)
    assert count == 4
    graded(submitted, out, seed=None, jobs=3)
    assert len(runs) == count
    assert contents(out) == before
    (submitted / "carl/ntk_matrix.ipynb").write_bytes(notebook([code(QUICK)]))
    assert graded(submitted, out)["carl"]["score"] == "13"
    assert len(runs) == count + 1
    assert graded(submitted, out, cpu_seconds=5)["alice"]["score"] == "13"
    assert len(runs) == 2 * count + 1


def test_new_time_of_the_same_file_is_told_without_a_run(tmp_path, runs):
    submitted, out = hand_in(tmp_path / "in"), tmp_path / "out"
    graded(submitted, out)
    os.utime(submitted / "alice/ntk_matrix.ipynb", (10**9 + 60, 10**9 + 60))
    (submitted / "alice/ntk_matrix (1).ipynb").write_bytes(b"{}")
    row = graded(submitted, out)["alice"]
    assert row["submitted_at"] == "2001-09-09T01:47:40Z"
    assert "not graded: ntk_matrix (1).ipynb" in row["reason"]
    assert len(runs) == 4


def test_withdrawn_submission_leaves_the_grades_and_the_feedback(tmp_path):
    submitted, out = hand_in(tmp_path / "in"), tmp_path / "out"
    graded(submitted, out)
    shutil.rmtree(submitted / "bob")
    assert set(graded(submitted, out)) == set(SCORES) - {"bob"}
    assert not (out / "feedback/bob").exists()
    assert "bob" not in (out / "summary.html").read_text("utf-8")


def test_other_seed_other_inputs_and_the_same_honest_scores(tmp_path, runs):
    submitted = hand_in(tmp_path / "in")
    one, two = (graded(submitted, tmp_path / name, seed=seed) for name, seed in (("out1", 1), ("out2", 2)))
    assert {student: row["score"] for student, row in one.items()} == {
        student: row["score"] for student, row in two.items()
    }
    assert NTK.call(NTK.checks(1)[0]) != NTK.call(NTK.checks(2)[0])
    with pytest.raises(StoreError, match="begun with 1, got 2"):
        graded(submitted, tmp_path / "out1", seed=2)


def test_failed_submission_has_no_score_and_is_tried_again(tmp_path, monkeypatch):
    submitted, out = (
        hand_in(tmp_path / "in", {"alice/ntk_matrix.ipynb": FILES["alice/ntk_matrix.ipynb"]}),
        tmp_path / "out",
    )

    def broken(*arguments, **options):
        raise SandboxError("no bwrap")

    with monkeypatch.context() as patch:
        patch.setattr(running, "grade", functools.partial(grade, run=broken))
        assert run(Options(submitted, out, seed=7, progress=False)) == {"failed": 1}
    assert run(Options(submitted, out, progress=False)) == {"graded": 1}


def test_fault_of_the_grader_itself_is_no_ones_zero(tmp_path, monkeypatch, capsys):
    submitted = hand_in(tmp_path / "in")
    real = running.grade

    def faulty(submission, *arguments, **options):
        if submission.student == "bob":
            raise KeyError("a fault")
        return real(submission, *arguments, **options)

    monkeypatch.setattr(running, "grade", faulty)
    rows = graded(submitted, tmp_path / "out")
    assert (rows["bob"]["status"], rows["bob"]["score"]) == ("failed", "")
    assert "KeyError" in rows["bob"]["reason"]
    assert "a fault" in capsys.readouterr().err
    assert rows["alice"]["score"] == "13"


def test_every_thread_has_its_own_slot(tmp_path, monkeypatch):
    busy, clashes, slots = set(), [], set()

    def slow(cells, calls, *, slot, **options):
        clashes.extend({slot} & busy)
        busy.add(slot)
        slots.add(slot)
        time.sleep(0.05)
        busy.remove(slot)
        return Run(answers=[{"missing": True}] * len(calls))

    monkeypatch.setattr(running, "grade", functools.partial(grade, run=slow))
    files = {f"student {i}/ntk_matrix.ipynb": notebook([code(f"x = {i}")]) for i in range(12)}
    graded(hand_in(tmp_path / "in", files), tmp_path / "out", jobs=3)
    assert clashes == []
    assert slots == {0, 1, 2}


def test_marks_entered_by_hand_come_into_the_grades(tmp_path, runs):
    submitted, out = hand_in(tmp_path / "in"), tmp_path / "out"
    graded(submitted, out)
    marks = out / "marks/ntk_matrix.csv"
    lines = list(csv.reader(marks.open(newline="", encoding="utf-8")))
    points = lines[0].index("points")
    for line in lines:
        if line[0] == "alice":
            line[points] = "0.5"
    with marks.open("w", newline="", encoding="utf-8") as table:
        csv.writer(table).writerows(lines)
    row = graded(submitted, out)["alice"]
    assert (row["score"], row["reason"]) == ("15", "all checks passed")
    assert len(runs) == 4


def test_roster_gives_a_gradebook(tmp_path):
    roster = tmp_path / "roster.csv"
    roster.write_text("student,email\nalice,a@example.org\nzoe,z@example.org\n")
    graded(hand_in(tmp_path / "in"), tmp_path / "out", roster=roster)
    with (tmp_path / "out/gradebook.csv").open(newline="", encoding="utf-8") as table:
        rows = {row["student"]: row for row in csv.DictReader(table)}
    assert set(rows) == {"alice", "zoe"}
    assert float(rows["alice"]["total"]) == 13


def test_only_the_chosen_problem_is_graded(tmp_path):
    files = FILES | {"alice/another.ipynb": b"{}", "gina/Untitled.ipynb": b"{}"}
    rows = graded(hand_in(tmp_path / "in", files), tmp_path / "out", problems=("definition/ntk_matrix",))
    assert set(rows) == {*SCORES, "gina"}
    assert "not graded: another.ipynb" in rows["alice"]["reason"]
    with pytest.raises(UsageError, match="--problem: expected one of .*ntk_matrix.*, got nothing"):
        graded(tmp_path / "in", tmp_path / "out", problems=("nothing",))


def test_grading_into_the_submissions_and_missing_files_are_refused(tmp_path):
    submitted = hand_in(tmp_path / "in")
    for out in (submitted, submitted / "out"):
        with pytest.raises(UsageError, match="lies in SUBMITTED"):
            graded(submitted, out)
    with pytest.raises(UsageError, match="there is no file"):
        graded(submitted, tmp_path / "out", roster=tmp_path / "missing.csv")
    with pytest.raises(ArchiveError):
        graded(tmp_path / "missing", tmp_path / "out")
    (tmp_path / "roster.csv").write_text("name\nalice\n")
    with pytest.raises(TableError, match="no column 'student'"):
        graded(submitted, tmp_path / "out", roster=tmp_path / "roster.csv")
    assert not (tmp_path / "out").exists()


def test_without_a_sandbox_nothing_runs_but_ones_own_notebooks_on_request(tmp_path, monkeypatch, runs):
    monkeypatch.setattr(sandbox, "available", lambda: "bwrap is not installed")
    submitted = hand_in(tmp_path / "in")
    with pytest.raises(UsageError, match="bwrap is not installed"):
        graded(submitted, tmp_path / "out")
    with pytest.raises(UsageError, match="those of 6 students"):
        graded(submitted, tmp_path / "out", sandboxed=False)
    assert runs == []
    own = hand_in(tmp_path / "own", {"me/ntk_matrix.ipynb": notebook([code(QUICK)])})
    assert graded(own, tmp_path / "out", sandboxed=False)["me"]["score"] == "13"


def test_second_run_in_the_same_folder_is_refused(tmp_path, monkeypatch):
    entered, leave = threading.Event(), threading.Event()

    def waiting(cells, calls, **options):
        entered.set()
        leave.wait(60)
        return run_here(cells, calls)

    monkeypatch.setattr(running, "grade", functools.partial(grade, run=waiting))
    submitted = hand_in(tmp_path / "in")
    first = threading.Thread(target=graded, args=(submitted, tmp_path / "out"))
    first.start()
    assert entered.wait(60)
    with pytest.raises(StoreError, match="another run is using"):
        graded(submitted, tmp_path / "out")
    leave.set()
    first.join()
    assert (tmp_path / "out/grades.csv").exists()


SLOWLY = """
import functools, sys, time
from pathlib import Path
from exercises.grading import run as running, sandbox
from exercises.grading.grade import grade
from tests.exercises.grading.test_run import run_here

def slowly(cells, calls, **options):
    time.sleep(0.02)
    return run_here(cells, calls)

running.grade = functools.partial(grade, run=slowly)
sandbox.available = lambda: None
running.run(running.Options(Path(sys.argv[1]), Path(sys.argv[2]), jobs=2, progress=False))
"""


def test_run_that_is_killed_again_and_again_ends_with_the_same_files(tmp_path):
    files = {
        f"student {i:02}/ntk_matrix.ipynb": notebook([code(QUICK), code(f"x = {i}")]) for i in range(16)
    } | FILES
    submitted, out = hand_in(tmp_path / "in", files), tmp_path / "out"
    command = [sys.executable, "-c", SLOWLY, str(submitted), str(out)]
    done = 0
    for _ in range(3):
        process = subprocess.Popen(command, cwd=Path(__file__).parents[3])
        while process.poll() is None and len(list(out.glob("results/*.json"))) < done + 4:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL
        done = len(list(out.glob("results/*.json")))
        assert 0 < done < len(files)
        assert not (out / "grades.csv").exists()
    stored = contents(out)
    seed = json.loads(stored["run.json"])["seed"]
    graded(submitted, out, seed=None)
    graded(submitted, tmp_path / "whole", seed=seed)
    finished = contents(out)
    assert finished == contents(tmp_path / "whole")
    kept = {name for name in stored if name.startswith("results/") and name.endswith(".json")}
    assert all(finished[name] == stored[name] for name in kept)


def test_samples_solve_everything():
    assert set(samples.FUNCTIONS) == {task.id for task in NTK.tasks.values() if task.kind == "code"}
