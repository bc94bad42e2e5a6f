"""Links, bombs, damage and crowds in folders and archives become reasons or one clear error, and are not followed."""

from __future__ import annotations

import os
import stat
import struct
import tarfile
import tracemalloc
import zipfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exercises.grading import entries
from exercises.grading.submissions import ArchiveError, Submissions
from tests.exercises.grading.packing import FILES, GOOD, KINDS, SETS, add, pack, read, reasons


@pytest.fixture(params=KINDS)
def packed(request, tmp_path):
    """Make SUBMITTED of every kind."""
    return lambda files: pack(tmp_path, request.param, files)


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
        add(archive, "dora/ntk_matrix.ipynb", type=kind, linkname="/etc/passwd")
        for name, content in FILES.items():
            add(archive, name, content)
    assert reasons(path)["dora"].startswith("unreadable file: ntk_matrix.ipynb is ")
    assert reasons(path)["alice"] == reasons(path)["bob"] == ""


def test_link_in_a_zip_is_rejected(tmp_path):
    path = pack(tmp_path, "zip", FILES)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("dora/ntk_matrix.ipynb")
        info.create_system, info.external_attr = 3, (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    assert reasons(path)["dora"] == "unreadable file: ntk_matrix.ipynb is a symbolic link"


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
    monkeypatch.setattr(entries, "FILE_BYTES", 10**6)
    path = pack(tmp_path, kind, FILES | {"dora/ntk_matrix.ipynb": bytes(40 * 10**6)})
    tracemalloc.start()
    found = reasons(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "is larger than" in found["dora"]
    assert found["alice"] == found["bob"] == ""
    assert peak < 15 * 10**6


def test_size_in_the_header_of_a_zip_is_not_believed(tmp_path, monkeypatch):
    monkeypatch.setattr(entries, "FILE_BYTES", 10**6)
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
    monkeypatch.setattr(entries, "TOTAL_BYTES", 10**6)
    path = pack(
        tmp_path, "tar.gz", FILES | {"dora/noise.bin": bytes(2 * 10**6), "emil/ntk_matrix.ipynb": GOOD}
    )
    with pytest.raises(ArchiveError, match="when unpacked"):
        Submissions(path, SETS)


def test_a_student_with_very_many_files_costs_the_others_nothing(packed, monkeypatch):
    monkeypatch.setattr(entries, "CROWD", 50)
    monkeypatch.setattr(entries, "MOST_STUDENTS", 50)
    crowd = {f"dora/definition/{i}.txt": b"" for i in range(100)}
    crowd |= {f"emil/{i}.txt": b"" for i in range(100)}
    found = reasons(packed(crowd | FILES))
    assert found["alice"] == found["bob"] == ""
    assert "no notebook" in found["dora"]
    assert "no notebook" in found["emil"]


def test_a_student_with_very_many_folders_costs_the_others_nothing(packed, monkeypatch):
    monkeypatch.setattr(entries, "MOST_BELOW", 50)
    crowd = {f"dora/{i}/{j}.txt": b"" for i in range(20) for j in range(5)}
    found = reasons(packed(crowd | FILES))
    assert found["alice"] == found["bob"] == ""
    assert "no notebook" in found["dora"]


def test_too_many_files_altogether_is_an_error(packed, monkeypatch):
    monkeypatch.setattr(entries, "MOST_ENTRIES", 50)
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
