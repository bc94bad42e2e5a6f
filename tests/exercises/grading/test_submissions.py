"""What is handed in is found in folders, zips and tars; whatever is wrong with one file touches no other."""

from __future__ import annotations

import io
import os
import stat
import struct
import tarfile
import tracemalloc
import unicodedata
import zipfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exercises.grading import archives
from exercises.grading.names import meant, safe_name, shown, unsafe_characters
from exercises.grading.submissions import ArchiveError, Submission, Submissions, read_timestamp

SETS = {"ntk_matrix": "definition", "two_layer_relu": "infinite_width"}
GOOD = b'{"cells": []}'
TIME = 1_767_225_600  # 2026-01-01T00:00:00Z
FILES = {"alice/ntk_matrix.ipynb": GOOD, "bob/definition/ntk_matrix.ipynb": GOOD + b" "}
KINDS = ["folder", "zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


def pack(folder: Path, kind: str, files: dict[str, bytes]) -> Path:
    """SUBMITTED of one kind, with the files in it."""
    path = folder / f"submitted.{kind}"
    if kind == "folder":
        for name, content in files.items():
            file = path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(content)
            os.utime(file, (TIME, TIME))
    elif kind == "zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(zipfile.ZipInfo(name, (2026, 1, 1, 0, 0, 0)), content)
    else:
        with tarfile.open(path, f"w:{kind.partition('.')[2]}") as archive:
            for name, content in files.items():
                _add(archive, name, content)
    return path


def _add(archive: tarfile.TarFile, name: str, content: bytes = b"", **changed) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(content), TIME
    for key, value in changed.items():
        setattr(info, key, value)
    archive.addfile(info, io.BytesIO(content))


def read(path: Path, **options) -> dict[tuple[str, str], Submission]:
    """All submissions by (student, problem)."""
    items = list(Submissions(path, SETS, **options))
    found = {(item.student, item.problem): item for item in items}
    assert len(found) == len(items)
    return found


def reasons(path: Path) -> dict[str, str]:
    """The reason for each student."""
    return {student: item.reason for (student, _), item in read(path).items()}


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


def test_zip_of_an_old_tool_may_have_utf8_names_without_saying_so(tmp_path):
    path = pack(tmp_path, "zip", {"Jösé/ntk_matrix.ipynb": GOOD})
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        place = content.index(signature) + offset
        content[place : place + 2] = struct.pack("<H", struct.unpack_from("<H", content, place)[0] & ~0x800)
    path.write_bytes(content)
    assert set(read(path)) == {("Jösé", "ntk_matrix")}


def test_links_and_devices_in_a_folder_are_not_followed(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(b"secret")
    path = pack(tmp_path, "folder", FILES)
    for name in ("link", "pipe", "hard", "folder"):
        (path / name).mkdir()
    (path / "link/ntk_matrix.ipynb").symlink_to(secret)
    (path / "folder/definition").symlink_to(tmp_path)
    (path / "whole").symlink_to(path / "alice")
    (path / "hard/ntk_matrix.ipynb").hardlink_to(secret)
    os.mkfifo(path / "pipe/ntk_matrix.ipynb")
    found = read(path)
    assert not any(item.content for key, item in found.items() if key[0] not in ("alice", "bob"))
    said = {student: item.reason for (student, _), item in found.items()}
    assert said["link"] == "unreadable file: ntk_matrix.ipynb is a symbolic link"
    assert said["folder"] == "no notebook: found definition is a symbolic link"
    assert said["whole"] == "no notebook: found whole is a symbolic link"
    assert said["hard"] == "unreadable file: ntk_matrix.ipynb is a hard link to another file"
    assert said["pipe"] == "unreadable file: ntk_matrix.ipynb is not an ordinary file"


def test_file_that_becomes_a_link_after_it_was_listed_is_not_followed(tmp_path):
    secret = tmp_path / "secret.ipynb"
    secret.write_bytes(b"secret")
    path = pack(tmp_path, "folder", FILES)
    submissions = Submissions(path, SETS)
    (path / "alice/ntk_matrix.ipynb").unlink()
    (path / "alice/ntk_matrix.ipynb").symlink_to(secret)
    (path / "bob/definition").rename(path / "bob/old")
    (path / "bob/definition").symlink_to(path / "bob/old")
    assert all("unreadable file" in item.reason and not item.content for item in submissions)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_links_and_devices_in_a_tar_are_rejected(tmp_path, kind):
    path = tmp_path / "submitted.tar"
    with tarfile.open(path, "w") as archive:
        _add(archive, "dora/ntk_matrix.ipynb", type=kind, linkname="/etc/passwd")
        for name, content in FILES.items():
            _add(archive, name, content)
    assert reasons(path)["dora"].startswith("unreadable file: ntk_matrix.ipynb is ")
    assert reasons(path)["alice"] == reasons(path)["bob"] == ""


def test_link_in_a_zip_is_rejected(tmp_path):
    path = pack(tmp_path, "zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("dora/ntk_matrix.ipynb")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert reasons(path)["dora"] == "unreadable file: ntk_matrix.ipynb is a symbolic link"


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_entry_that_an_archive_holds_twice_is_ambiguous(tmp_path, kind):
    path = pack(tmp_path, kind, FILES)
    if kind == "zip":
        with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate"):
            archive.writestr("alice/ntk_matrix.ipynb", b"other")
    else:
        with tarfile.open(path, "a") as archive:
            _add(archive, "alice/ntk_matrix.ipynb", b"other")
    assert reasons(path) == {"alice": "ambiguous file: the archive holds it more than once", "bob": ""}


def test_encrypted_entry_is_rejected(tmp_path):
    path = pack(tmp_path, "zip", {"dora/ntk_matrix.ipynb": GOOD} | FILES)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        content[content.index(signature) + offset] |= 1
    path.write_bytes(content)
    assert reasons(path) == {
        "alice": "",
        "bob": "",
        "dora": "unreadable file: ntk_matrix.ipynb is encrypted",
    }


def test_damaged_entry_of_a_zip_touches_no_other(tmp_path):
    path = tmp_path / "submitted.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in {"dora/ntk_matrix.ipynb": b"unmistakable", **FILES}.items():
            archive.writestr(name, content)
    path.write_bytes(path.read_bytes().replace(b"unmistakable", b"unmistakeble"))
    assert "damaged in the archive" in reasons(path)["dora"]
    assert reasons(path)["alice"] == ""


@pytest.mark.parametrize("kind", KINDS)
def test_bomb_is_read_up_to_the_limit_only(tmp_path, kind, monkeypatch):
    monkeypatch.setattr(archives, "FILE_BYTES", 10**6)
    path = pack(tmp_path, kind, FILES | {"dora/ntk_matrix.ipynb": bytes(40 * 10**6)})
    tracemalloc.start()
    found = reasons(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "is larger than" in found["dora"]
    assert found["alice"] == found["bob"] == ""
    assert peak < 15 * 10**6


def test_size_in_the_header_of_a_zip_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "FILE_BYTES", 10**6)
    path = pack(tmp_path, "zip", {"dora/ntk_matrix.ipynb": bytes(40 * 10**6)} | FILES)
    content = bytearray(path.read_bytes())
    for signature, offset in ((b"PK\3\4", 22), (b"PK\1\2", 24)):
        place = content.index(signature) + offset
        content[place : place + 4] = struct.pack("<L", 1000)
    path.write_bytes(content)
    assert reasons(path)["dora"].startswith("unreadable file")
    assert reasons(path)["alice"] == ""


def test_header_of_a_tar_that_claims_gigabytes_is_an_error_and_not_read(tmp_path):
    path = tmp_path / "submitted.tar"
    header = tarfile.TarInfo("x")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 6 * 2**30
    path.write_bytes(header.tobuf())
    with pytest.raises(ArchiveError, match="a header of 6442450944 bytes"):
        Submissions(path, SETS)


def test_archive_that_unpacks_to_too_much_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "TOTAL_BYTES", 10**6)
    path = pack(
        tmp_path, "tar.gz", FILES | {"dora/noise.bin": bytes(2 * 10**6), "emil/ntk_matrix.ipynb": GOOD}
    )
    with pytest.raises(ArchiveError, match="when unpacked"):
        Submissions(path, SETS)


def test_a_student_with_very_many_files_costs_the_others_nothing(packed, monkeypatch):
    monkeypatch.setattr(archives, "CROWD", 50)
    monkeypatch.setattr(archives, "MOST_STUDENTS", 50)
    crowd = {f"dora/definition/{i}.txt": b"" for i in range(100)}
    crowd |= {f"emil/{i}.txt": b"" for i in range(100)}
    found = reasons(packed(crowd | FILES))
    assert found["alice"] == found["bob"] == ""
    assert "no notebook" in found["dora"]
    assert "no notebook" in found["emil"]


def test_a_student_with_very_many_folders_costs_the_others_nothing(packed, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BELOW", 50)
    crowd = {f"dora/{i}/{j}.txt": b"" for i in range(20) for j in range(5)}
    found = reasons(packed(crowd | FILES))
    assert found["alice"] == found["bob"] == ""
    assert "no notebook" in found["dora"]


def test_too_many_files_altogether_is_an_error(packed, monkeypatch):
    monkeypatch.setattr(archives, "MOST_ENTRIES", 50)
    with pytest.raises(ArchiveError, match="more than 50 files"):
        Submissions(packed({f"student {i}/ntk_matrix.ipynb": b"" for i in range(60)}), SETS)


@pytest.mark.parametrize("kind", ["zip", "tar", "tar.gz", "tar.xz"])
def test_archive_that_is_cut_off_is_an_error(tmp_path, kind):
    path = pack(tmp_path, kind, {f"student {i}/ntk_matrix.ipynb": os.urandom(2000) for i in range(20)})
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ArchiveError, match="SUBMITTED: .*(damaged|cut off)"):
        Submissions(path, SETS)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(KINDS[1:]), st.integers(0, 10_000), st.binary(min_size=1, max_size=8))
def test_archive_with_random_damage_is_read_or_refused_but_never_crashes(
    tmp_path_factory, kind, place, noise
):
    folder = tmp_path_factory.mktemp("damaged")
    path = pack(folder, kind, FILES)
    content = bytearray(path.read_bytes())
    place %= len(content)
    content[place : place + len(noise)] = noise
    path.write_bytes(content)
    try:
        for item in Submissions(path, SETS):
            assert item.reason or item.content in (GOOD, GOOD + b" ", *FILES.values()) or kind == "tar"
    except ArchiveError as error:
        assert str(error).startswith("SUBMITTED: ")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "neither a folder nor a zip or tar"),
        (b"PK\3\4" + bytes(100), "damaged zip"),
        (b"%PDF", "neither"),
    ],
)
def test_something_else_is_an_error(tmp_path, content, message):
    path = tmp_path / "submitted"
    path.write_bytes(content)
    with pytest.raises(ArchiveError, match=message):
        Submissions(path, SETS)


def test_nothing_there_is_an_error_that_says_what_is_expected(tmp_path):
    with pytest.raises(ArchiveError, match="cannot open"):
        Submissions(tmp_path / "missing", SETS)
    with pytest.raises(ArchiveError, match=r"STUDENT/ntk_matrix.ipynb"):
        Submissions(pack(tmp_path, "zip", {"README": b""}), SETS)


def test_unreadable_folder_is_a_reason(tmp_path, monkeypatch):
    path = pack(tmp_path, "folder", FILES)
    real = os.open

    def refuse(name, flags, *arguments, **options):
        if name == "alice":
            raise PermissionError(13, "Permission denied")
        return real(name, flags, *arguments, **options)

    monkeypatch.setattr(os, "open", refuse)
    assert reasons(path) == {
        "alice": "no notebook: found alice cannot be read (Permission denied)",
        "bob": "",
    }


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_memory_does_not_grow_with_the_submissions(tmp_path, kind):
    content = os.urandom(50_000)
    peaks = []
    for count in (20, 80):
        path = pack(tmp_path, kind, {f"student {i}/ntk_matrix.ipynb": content for i in range(count)})
        tracemalloc.start()
        assert sum(len(item.content) for item in Submissions(path, SETS)) == count * len(content)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 10 * len(content)


@pytest.mark.parametrize(
    ("name", "folder"),
    [
        ("alice", "alice"),
        ("Ana-Maria O.", "Ana-Maria O-"),
        ("José Ñandú 你好 नमस्ते", "José Ñandú 你好 नमस्ते"),
        ("me+you@example.org", "me+you@example.org"),
        ("<script>", "_script_-"),
        ("a/../b", "a_.._b-"),
        ("..", "_-"),
        ("", "_-"),
        ("CON", "CON-"),
        ("x" * 500, "x" * 60 + "-"),
    ],
)
def test_folder_name_is_safe_on_any_system(name, folder):
    made = safe_name(name)
    assert made == folder or (
        folder.endswith("-") and len(made) == len(folder) + 8 and made.startswith(folder)
    )


@given(st.lists(st.text(min_size=1), min_size=2, max_size=2, unique=True))
def test_different_names_are_shown_differently_and_get_different_folders(names):
    assert shown(names[0]) != shown(names[1])
    assert not any(unsafe_characters(shown(name)) for name in names)
    one, two = (unicodedata.normalize("NFC", name) for name in names)
    assert one == two or safe_name(names[0]) != safe_name(names[1])
    assert all(
        "/" not in safe_name(name) and safe_name(name).strip(". ") == safe_name(name) for name in names
    )


def test_name_made_to_look_like_anothers_folder_does_not_get_it():
    folder = safe_name("b<ob")
    assert safe_name(folder) != folder


@pytest.mark.parametrize("file", ["homework.ipynb", "Untitled1.ipynb", "report.pdf"])
def test_file_that_resembles_no_problem_is_not_guessed(file):
    assert meant(file, SETS) is None
