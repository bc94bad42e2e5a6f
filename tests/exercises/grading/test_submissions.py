"""What is handed in is found in both layouts; what is wrong with one file touches no other."""

from __future__ import annotations

import os
import tarfile
import zipfile
from pathlib import Path

import pytest

from exercises.grading.names import unsafe_characters
from exercises.grading.submissions import ArchiveError, Submissions, read_timestamp
from tests.exercises.grading.packing import FILES, GOOD, KINDS, SETS, TIME, add, pack, read, reasons


@pytest.fixture(params=KINDS)
def packed(request, tmp_path):
    """Make SUBMITTED of every kind."""
    return lambda files: pack(tmp_path, request.param, files)


def test_both_layouts_are_found_in_every_kind_of_archive(packed):
    found = read(packed(FILES))
    assert found["alice", "ntk_matrix"].content == GOOD
    assert found["bob", "ntk_matrix"].content == GOOD + b" "
    assert {item.submitted_at for item in found.values()} == {"2026-01-01T00:00:00Z"}
    assert not any(item.reason or item.note for item in found.values())


@pytest.mark.parametrize(
    "files",
    [
        {f"course export/{name}": content for name, content in FILES.items()},
        {f"./{name}": content for name, content in FILES.items()},
        FILES
        | {"__MACOSX/alice/._ntk_matrix.ipynb": b"\0", "alice/.ipynb_checkpoints/ntk_matrix.ipynb": b""},
        FILES | {"alice/figure.png": b"", "alice/.DS_Store": b"", "roster.csv": b"student\n"},
    ],
    ids=["one more folder", "dots", "left behind by systems", "other files"],
)
def test_what_surrounds_submissions_is_no_submission(packed, files):
    if any(name.startswith("./") for name in files) and packed(FILES).is_dir():
        return
    assert {key: item.content for key, item in read(packed(files)).items()} == {
        ("alice", "ntk_matrix"): GOOD,
        ("bob", "ntk_matrix"): GOOD + b" ",
    }


def test_folder_of_one_student_is_not_taken_for_one_more_folder(packed):
    assert set(read(packed({"bob/definition/ntk_matrix.ipynb": GOOD}))) == {("bob", "ntk_matrix")}


def test_one_student_in_one_more_folder(packed):
    assert set(read(packed({"top/bob/ntk_matrix.ipynb": GOOD}))) == {("bob", "ntk_matrix")}


@pytest.mark.parametrize(
    ("name", "suggested"),
    [
        ("ntk-matrix.ipynb", "must be called ntk_matrix.ipynb"),
        ("ntk_matrix (1).ipynb", "must be called ntk_matrix.ipynb"),
        ("ntk_matrix_final.ipynb", "must be called ntk_matrix.ipynb"),
        ("Copy of ntk_matrix.ipynb", "must be called ntk_matrix.ipynb"),
        ("NTK_Matrix.ipynb", "must be called ntk_matrix.ipynb"),
        ("two_layer_rellu.ipynb", "must be called two_layer_relu.ipynb"),
        ("ntk_matrix.json", "hand in ntk_matrix.ipynb itself"),
        ("ntk_matrix.py", "hand in ntk_matrix.ipynb itself"),
        ("ntk_matrix.ipynb.zip", "hand in ntk_matrix.ipynb itself"),
        ("ntk_matrix.html", "hand in ntk_matrix.ipynb itself"),
        ("Untitled.ipynb", "is none of ntk_matrix, two_layer_relu"),
    ],
)
def test_wrong_file_name_is_rejected_with_the_right_one(tmp_path, name, suggested):
    path = pack(tmp_path, "zip", FILES | {f"carl/{name}": GOOD})
    assert suggested in reasons(path)["carl"]
    assert reasons(path)["alice"] == ""


def test_a_wrong_name_beside_the_right_file_is_only_noted(packed):
    found = read(packed(FILES | {"alice/ntk_matrix (1).ipynb": b"{}"}))
    assert found["alice", "ntk_matrix"].content == GOOD
    assert found["alice", "ntk_matrix"].note == "not graded: ntk_matrix (1).ipynb"


def test_wrong_set_is_rejected_with_the_right_place(packed):
    found = reasons(packed(FILES | {"carl/limits/ntk_matrix.ipynb": GOOD}))
    assert "definition/ntk_matrix.ipynb" in found["carl"]


def test_student_without_a_notebook_is_told_what_was_found(packed):
    found = reasons(packed(FILES | {"carl/report.pdf": b"", "carl/code/main.c": b""}))
    assert found["carl"] == "no notebook: found code/main.c, report.pdf"


def test_only_problem_takes_any_notebook_for_an_attempt_at_it(tmp_path):
    path = pack(tmp_path, "folder", {"carl/Untitled.ipynb": GOOD, "dora/two_layer_relu.ipynb": GOOD})
    found = read(path, wanted={"ntk_matrix"})
    assert set(found) == {("carl", "ntk_matrix")}
    assert "must be called ntk_matrix.ipynb" in found["carl", "ntk_matrix"].reason


def test_of_two_files_for_one_problem_the_later_counts_and_at_equal_times_the_one_in_its_set(tmp_path):
    both = {"alice/ntk_matrix.ipynb": b"1", "alice/definition/ntk_matrix.ipynb": b"2"}
    path = pack(tmp_path, "folder", both)
    item = read(path)["alice", "ntk_matrix"]
    assert (item.content, item.note) == (b"2", "not graded: ntk_matrix.ipynb")
    os.utime(path / "alice/ntk_matrix.ipynb", (TIME + 60, TIME + 60))
    item = read(path)["alice", "ntk_matrix"]
    assert (item.content, item.note) == (b"1", "not graded: definition/ntk_matrix.ipynb")
    assert item.submitted_at == "2026-01-01T00:01:00Z"


def test_time_stamp_of_nbgrader_is_the_time(packed):
    stamp = b"2025-12-24 18:30:15.123456 UTC"
    found = read(packed(FILES | {"bob/definition/timestamp.txt": stamp, "alice/timestamp.txt": b"\xff soon"}))
    assert found["bob", "ntk_matrix"].submitted_at == "2025-12-24T18:30:15Z"
    assert found["alice", "ntk_matrix"].submitted_at == "2026-01-01T00:00:00Z"


@pytest.mark.parametrize(
    ("stamp", "seconds"),
    [
        (b"1970-01-01 00:01:00.000000 UTC", 60),
        (b"1970-01-01 00:01:00 +0100\n", -3540),
        (b"1970-01-01T00:01:00Z", 60),
        (b"1970-01-01 01:01:00 Europe/Zurich", 60),
        (b"1970-01-01 01:01:00 Europe/Nowhere", None),
        (b"1970-01-01 01:01:00 ../../etc/passwd", None),
        (b"1970-13-01 00:00:00 UTC", None),
        (b"9" * 10**6, None),
        (b"", None),
    ],
)
def test_time_stamps_are_read_or_ignored(stamp, seconds):
    assert read_timestamp(stamp) == seconds


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("../evil/ntk_matrix.ipynb", "unsafe path"),
        ("dora/../alice/ntk_matrix.ipynb", "unsafe path"),
        ("/tmp/ntk_matrix.ipynb", "unsafe path"),
        ("dora\\ntk_matrix.ipynb", "unsafe path"),
        ("C:/dora/ntk_matrix.ipynb", "unsafe path"),
        ("dora//ntk_matrix.ipynb", "unsafe path"),
        ("do\u202era/ntk_matrix.ipynb", "unsafe name"),
        ("do\nra/ntk_matrix.ipynb", "unsafe name"),
        ("do\x1b[31mra/ntk_matrix.ipynb", "unsafe name"),
        ("do\u200bra/ntk_matrix.ipynb", "unsafe name"),
        (f"{'d' * 300}/ntk_matrix.ipynb", "unsafe name"),
        (f"dora/{'d' * 70_000}/ntk_matrix.ipynb", "unsafe name"),
        ("a/b/c/d/e/f/ntk_matrix.ipynb", "misplaced file"),
        ("ntk_matrix.ipynb", "misplaced file"),
    ],
)
@pytest.mark.parametrize("kind_of_archive", ["zip", "tar.gz"])
def test_hostile_path_is_rejected_and_touches_no_other(tmp_path, name, kind, kind_of_archive):
    if len(name) > 60_000 and kind_of_archive == "zip":
        name = name[:60_000] + "/ntk_matrix.ipynb"
    found = read(pack(tmp_path, kind_of_archive, FILES | {name: b"evil"}))
    assert found["alice", "ntk_matrix"].content == GOOD
    assert found["bob", "ntk_matrix"].content == GOOD + b" "
    (other,) = (item for key, item in found.items() if key[0] not in ("alice", "bob"))
    assert other.reason.startswith(kind)
    assert not other.content
    assert unsafe_characters(other.student) == ""
    assert sorted(tmp_path.iterdir()) == [tmp_path / f"submitted.{kind_of_archive}"]


def test_name_that_is_not_utf8_is_rejected_and_shown_with_an_escape(tmp_path):
    path = pack(tmp_path, "folder", FILES)
    folder = os.fsencode(path) + b"/jos\xe9"
    os.mkdir(folder)
    Path(os.fsdecode(folder), "ntk_matrix.ipynb").write_bytes(GOOD)
    assert reasons(path) == {"alice": "", "bob": "", r"jos\udce9": reasons(path)[r"jos\udce9"]}
    assert "not UTF-8" in reasons(path)[r"jos\udce9"]


def test_the_two_ways_to_write_an_accent_are_one_student_and_two_cases_are_two(tmp_path):
    files = {"Jose\u0301/ntk_matrix.ipynb": b"1", "José/definition/ntk_matrix.ipynb": b"2"}
    assert set(read(pack(tmp_path, "zip", files))) == {("José", "ntk_matrix")}
    files = {"Ana/ntk_matrix.ipynb": b"1", "ana/ntk_matrix.ipynb": b"2"}
    found = read(pack(tmp_path, "tar", files))
    assert {key[0]: item.content for key, item in found.items()} == {"Ana": b"1", "ana": b"2"}


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_entry_that_an_archive_holds_twice_is_ambiguous(tmp_path, kind):
    path = pack(tmp_path, kind, FILES)
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("alice/ntk_matrix.ipynb", b"other")
    else:
        with tarfile.open(path, "a") as archive:
            add(archive, "alice/ntk_matrix.ipynb", b"other")
    assert reasons(path) == {"alice": "ambiguous file: the archive holds it more than once", "bob": ""}


def test_nothing_there_is_an_error_that_says_what_is_expected(tmp_path):
    with pytest.raises(ArchiveError, match="cannot open"):
        Submissions(tmp_path / "missing", SETS)
    with pytest.raises(ArchiveError, match=r"STUDENT/ntk_matrix.ipynb"):
        Submissions(pack(tmp_path, "zip", {"README": b""}), SETS)
