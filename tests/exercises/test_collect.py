"""Exports of learning platforms become folders by student, whatever else lies in them."""

from __future__ import annotations

import zipfile

import pytest

from exercises import collect
from exercises.grading.archives import ArchiveError

METADATA = """\
---
submission_101:
  :submitters:
  - :name: Student One
    :sid: '1'
    :email: student01@example.org
  :created_at: 2026-10-05 09:00:00.000000000 Z
  :score: 1.0
submission_102:
  :submitters:
  - :name: Student Two
    :sid: !ruby/object:Evil '2'
    :email: student02@example.org
  - :name: Student Three
    :sid: '3'
    :email: student03@example.org
"""


@pytest.fixture
def sort(tmp_path):
    """Sort a zip of the given files; the files that were written, by path, and the sentences."""

    def sort(**files):
        export = tmp_path / "export.zip"
        with zipfile.ZipFile(export, "w") as archive:
            for name, content in files["files"].items():
                archive.writestr(name, content)
        out = tmp_path / "out"
        left = collect.sort(export, out)
        return {
            str(path.relative_to(out)): path.read_text() for path in out.rglob("*.*") if path.is_file()
        }, left

    return sort


def test_canvas_names_are_taken_apart_and_the_last_attempt_counts(sort):
    written, left = sort(
        files={
            "oneada_11_900_ntk_matrix.ipynb": "first",
            "oneada_11_950_ntk_matrix-1.ipynb": "second",
            "oneada_11_990_ntk_matrix-10.ipynb": "eleventh",
            "two_LATE_12_901_ntk_matrix.ipynb": "late",
            "two_LATE_12_902_recursion.ipynb": "other",
            "anon_x7Kq2_903_ntk_matrix.ipynb": "anonymous",
            "three_13_904_notes.pdf": "no notebook",
        }
    )
    assert written == {
        "11/ntk_matrix.ipynb": "eleventh",
        "12/ntk_matrix.ipynb": "late",
        "12/recursion.ipynb": "other",
        "anon_x7Kq2/ntk_matrix.ipynb": "anonymous",
    }
    assert left == ["three_13_904_notes.pdf: not named as Canvas names submissions"]


def test_gradescope_folders_get_the_address_of_who_handed_in(sort):
    written, left = sort(
        files={
            "assignment_9_export/submission_metadata.yml": METADATA,
            "assignment_9_export/submission_101/ntk_matrix.ipynb": "one",
            "assignment_9_export/submission_102/ntk_matrix.ipynb": "two",
            "assignment_9_export/submission_103/ntk_matrix.ipynb": "unknown",
        }
    )
    assert written == {
        "student01@example.org/ntk_matrix.ipynb": "one",
        "student02@example.org/ntk_matrix.ipynb": "two",
    }
    assert left == [
        "assignment_9_export/submission_102/ntk_matrix.ipynb: handed in by student02@example.org together with "
        "student03@example.org",
        "assignment_9_export/submission_103/ntk_matrix.ipynb: not in a folder that submission_metadata.yml names",
    ]


@pytest.mark.parametrize(
    "name", ["../../x_1_2_ntk_matrix.ipynb", "x_1_2_..", "/x_1_2_ntk_matrix.ipynb", "x_1_2_a\\b.ipynb"]
)
def test_a_name_never_leads_out_of_the_folder(sort, tmp_path, name):
    written, left = sort(files={name: "evil", "x_1_3_ntk_matrix.ipynb": "good"})
    assert written == {"1/ntk_matrix.ipynb": "good"}
    assert len(left) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"export.zip", "out"}


def test_an_address_never_leads_out_of_the_folder(sort, tmp_path):
    metadata = METADATA.replace("student01@example.org", "../../evil")
    written, _ = sort(files={"submission_metadata.yml": metadata, "submission_101/ntk_matrix.ipynb": "one"})
    assert len(written) == 1
    assert {path.name for path in tmp_path.iterdir()} == {"export.zip", "out"}


@pytest.mark.parametrize("metadata", ["", "- 1", "a: b", "{", "submission_101: {}"])
def test_metadata_of_another_form_are_refused(sort, metadata):
    with pytest.raises(ArchiveError, match="not the form that Gradescope writes"):
        sort(files={"submission_metadata.yml": metadata, "submission_101/ntk_matrix.ipynb": "one"})


def test_an_export_of_something_else_is_refused(sort):
    with pytest.raises(ArchiveError, match="no notebook named as Canvas or Gradescope"):
        sort(files={"student01/ntk_matrix.ipynb": "sorted already"})


def test_a_folder_with_something_in_it_is_left_alone(tmp_path, capsys):
    (tmp_path / "kept").write_text("x")
    assert collect.main([str(tmp_path / "export.zip"), "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err
