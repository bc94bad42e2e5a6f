"""OUT keeps its seed, each result as a whole, and one run at a time."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from exercises.grading.grade import Result
from exercises.grading.store import RESULTS, Store, StoreError
from exercises.grading.submissions import Submission

ALICE = Submission("alice", "ntk_matrix", content=b"1")
RESULT = Result("alice", "ntk_matrix", "definition", "graded", "all checks passed", 13.0, 13.0)


def test_seed_is_kept_and_another_one_is_an_error(tmp_path):
    with Store(tmp_path / "a", seed=5) as store:
        assert store.seed == 5
    with Store(tmp_path / "a") as store:
        assert store.seed == 5
    with pytest.raises(StoreError, match="begun with 5, got 6"):
        Store(tmp_path / "a", seed=6)
    with Store(tmp_path / "a", seed=5) as store:
        assert store.seed == 5


def test_seed_is_random_unless_given(tmp_path):
    seeds = set()
    for name in "abcd":
        with Store(tmp_path / name) as store:
            seeds.add(store.seed)
    assert len(seeds) == 4


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_seed_out_of_range_is_an_error(tmp_path, seed):
    with pytest.raises(StoreError, match="seed: expected"):
        Store(tmp_path / "out", seed=seed)


def test_result_is_found_again_under_its_key_only(tmp_path):
    with Store(tmp_path, 1) as store:
        key = store.key(ALICE, "digest", {"cpu_seconds": 60})
        assert store.load(ALICE, key) is None
        store.save(RESULT, key)
        assert store.load(ALICE, key) == RESULT
        for changed in (
            store.key(Submission("alice", "ntk_matrix", content=b"2"), "digest", {"cpu_seconds": 60}),
            store.key(ALICE, "other", {"cpu_seconds": 60}),
            store.key(ALICE, "digest", {"cpu_seconds": 61}),
        ):
            assert store.load(ALICE, changed) is None
    with Store(tmp_path) as store:
        assert store.load(ALICE, key) == RESULT
    with Store(tmp_path / "other", 2) as store:
        assert store.key(ALICE, "digest", {"cpu_seconds": 60}) != key


def test_failed_results_are_tried_again(tmp_path):
    with Store(tmp_path, 1) as store:
        store.save(Result("alice", "ntk_matrix", "definition", "failed", "no bwrap", None, 13.0), "key")
        assert store.load(ALICE, "key") is None
        assert [result.status for result in store.results({("alice", "ntk_matrix")})] == ["failed"]


def test_results_come_sorted_and_only_those_that_are_wanted(tmp_path):
    with Store(tmp_path, 1) as store:
        for student in ("bob", "alice", "carl"):
            store.save(Result(student, "ntk_matrix", "definition", "graded", "x", note="y"), "key")
        wanted = {("carl", "ntk_matrix"), ("alice", "ntk_matrix"), ("dora", "ntk_matrix")}
        found = list(store.results(wanted))
    assert [(result.student, result.reason) for result in found] == [("alice", "x; y"), ("carl", "x; y")]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"key": "key", "result": {}}', '{"key": "key"}', "\0"])
def test_damaged_result_is_as_good_as_none(tmp_path, content):
    with Store(tmp_path, 1) as store:
        store.save(RESULT, "key")
        (path,) = (tmp_path / RESULTS).iterdir()
        path.write_text(content)
        assert store.load(ALICE, "key") is None
        assert list(store.results({("alice", "ntk_matrix")})) == []
        store.save(RESULT, "key")
        assert store.load(ALICE, "key") == RESULT


@pytest.mark.parametrize("student", ["../../evil", "/etc", "a\0b", "x" * 1000, "\udce9"])
def test_no_name_leads_out_of_the_folder_of_results(tmp_path, student):
    with Store(tmp_path / "out", 1) as store:
        store.save(Result(student, "ntk_matrix", "definition", "graded", ""), "key")
        assert next(store.results({(student, "ntk_matrix")})).student == student
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_second_run_in_the_same_folder_is_refused_until_the_first_ends(tmp_path):
    with Store(tmp_path, 1), pytest.raises(StoreError, match="another run is using"):
        Store(tmp_path, 1)
    Store(tmp_path, 1).close()


def test_lock_of_a_killed_run_does_not_last(tmp_path):
    code = (
        f"from exercises.grading.store import Store; Store({str(tmp_path)!r}, 1); "
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -9
    with Store(tmp_path) as store:
        assert store.seed == 1


def test_what_a_killed_run_left_half_written_is_cleared_away(tmp_path):
    with Store(tmp_path, 1) as store:
        store.save(RESULT, "key")
    (tmp_path / RESULTS / ".half.json.x1").write_text("{")
    Store(tmp_path).close()
    assert len(list((tmp_path / RESULTS).iterdir())) == 1


def test_folder_that_cannot_be_used_is_an_error(tmp_path):
    file = tmp_path / "file"
    file.write_text("x")
    with pytest.raises(StoreError, match="is a file"):
        Store(file)
    with pytest.raises(StoreError, match="cannot write"):
        Store(file / "below")
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(StoreError, match="damaged"):
        Store(tmp_path)
    (tmp_path / "run.json").write_text(json.dumps({"seed": 3}))
    with Store(tmp_path) as store:
        assert store.seed == 3
