"""Tables survive spreadsheets, never become formulas, and are written as a whole or not at all."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exercises.grading import tables
from exercises.grading.tables import TableError

CELLS = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\r\0"))


@given(CELLS)
def test_guarding_loses_nothing_and_leaves_no_formula(cell):
    guarded = tables.guard(cell)
    assert not guarded.startswith(("=", "+", "-", "@", "\t"))
    assert tables.unguard(guarded) == cell


@given(st.lists(st.tuples(CELLS, CELLS), max_size=5))
def test_what_is_written_is_read(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("tables") / "t.csv"
    tables.replace(path, tables.dump(("one", "two"), rows))
    header, read = tables.read(path, ("one",))
    assert header == ["one", "two"]
    assert [tuple(cells.values()) for _, cells in read] == [
        row for row in rows if any(c.strip() for c in row)
    ]


def test_lines_are_counted_as_an_editor_counts_them(tmp_path):
    path = tmp_path / "t.csv"
    path.write_bytes(b'sep=,\r\none,two\r\n1,"a\r\nb"\r\n\r\n2,c\r\n')
    assert [line for line, _ in tables.read(path)[1]] == [3, 6]


@pytest.mark.parametrize(
    ("cell", "points"), [("", None), (" ", None), ("2", 2), ("1.25", 1.25), ("1,25", 1.25), (" 0 ", 0)]
)
def test_points_are_read_as_people_type_them(cell, points):
    assert tables.points(cell, 2) == points


@pytest.mark.parametrize("cell", ["x", "-0.1", "2.1", "nan", "inf", "1e400", "1;2", "1,000,5"])
def test_what_is_no_number_of_points_is_refused(cell):
    with pytest.raises(ValueError, match="points must be"):
        tables.points(cell, 2)


def test_replacing_is_whole_and_says_whether_anything_changed(tmp_path):
    path = tmp_path / "new" / "t.csv"
    assert tables.replace(path, "a")
    assert not tables.replace(path, b"a")
    assert tables.replace(path, "b") and path.read_text() == "b"
    assert os.listdir(path.parent) == ["t.csv"]


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path, monkeypatch):
    path = tmp_path / "t.csv"
    tables.replace(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left"):
        tables.replace(path, "new")
    assert path.read_text() == "old" and os.listdir(tmp_path) == ["t.csv"]


def test_a_file_that_is_a_folder_is_an_error_of_the_system(tmp_path):
    with pytest.raises(OSError):
        tables.read(tmp_path)


def test_a_cell_beyond_measure_is_refused_with_its_line(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("one\n" + "x" * 200_000 + "\n")
    with pytest.raises(TableError, match=r"t.csv, line 2: field larger than field limit"):
        tables.read(path)
