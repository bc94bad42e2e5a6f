"""The gradebook has a row for everyone on the roster and a column for each problem, and says what is missing."""

from __future__ import annotations

import csv
import unicodedata

import pytest

from exercises.grading import gradebook
from exercises.grading.tables import TableError

ROWS = [
    {"student": "student01", "problem": "ntk_matrix", "score": "13", "status": "graded"},
    {"student": "student01", "problem": "recursion", "score": "4.5", "status": "stopped"},
    {"student": "student02", "problem": "ntk_matrix", "score": "0", "status": "rejected"},
]
ROSTER = (
    "student,name,email\nstudent02,Two,two@example.org\nstudent01,One,one@example.org\nstudent03,Three,\n"
)


@pytest.fixture
def write(tmp_path):
    """Write a gradebook; its rows and the notes."""

    def write(roster=ROSTER, rows=ROWS):
        path = tmp_path / "roster.csv"
        path.write_bytes(roster if isinstance(roster, bytes) else roster.encode())
        notes = gradebook.write(tmp_path, path, rows)
        with open(tmp_path / gradebook.NAME, encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file)), notes

    return write


def test_rows_and_columns_of_the_roster_are_kept_in_their_order(write):
    table, _ = write()
    assert list(table[0]) == ["student", "name", "email", "ntk_matrix", "recursion", "total"]
    assert [row["student"] for row in table] == ["student02", "student01", "student03"]
    assert table[1]["email"] == "one@example.org"


def test_total_is_the_sum_and_what_is_missing_is_empty_and_counts_nothing(write):
    table, _ = write()
    assert [(row["ntk_matrix"], row["recursion"], row["total"]) for row in table] == [
        ("0.00", "", "0.00"),
        ("13.00", "4.50", "17.50"),
        ("", "", "0.00"),
    ]


def test_people_who_are_not_on_the_roster_and_those_who_handed_in_nothing_are_named(write):
    _, notes = write("student\nstudent01\nstudent03\n")
    assert notes == [
        "Not on the roster, so not in gradebook.csv: student02",
        "Nothing handed in by 1 on the roster: student03",
    ]


def test_a_failure_of_the_grader_leaves_the_total_empty(write):
    rows = [*ROWS[:2], {**ROWS[2], "score": "", "status": "failed"}]
    table, notes = write(rows=rows)
    assert (table[0]["ntk_matrix"], table[0]["total"]) == ("", "")
    assert "The grader failed on a submission of student02: total left empty" in notes


def test_roster_may_come_from_a_spreadsheet(write):
    plain, _ = write()
    excel = "\ufeff" + ROSTER.replace(",", ";").replace("\n", "\r\n") + ";;\r\n"
    assert write(excel)[0] == plain


def test_names_are_compared_whatever_their_unicode_form(write):
    rows = [{**ROWS[0], "student": unicodedata.normalize("NFC", "Zoë")}]
    table, notes = write("student\n" + unicodedata.normalize("NFD", "Zoë") + "\n", rows)
    assert table[0]["total"] == "13.00" and notes == []


def test_formulas_are_guarded(write):
    table, _ = write("student,name\nstudent01,=1+1\n-two,@x\n")
    assert [(row["student"], row["name"]) for row in table] == [("student01", "'=1+1"), ("'-two", "'@x")]


@pytest.mark.parametrize(
    ("roster", "message"),
    [
        ("name,email\na,b\n", "line 1: no column 'student'"),
        ("student,student\na,b\n", "line 1: the column 'student' stands there twice"),
        ("student,total\na,1\n", "line 1: the column 'total' is one that the gradebook adds"),
        ("student,ntk_matrix\na,1\n", "line 1: the column 'ntk_matrix' is one that the gradebook adds"),
        ("student,name\na,A\n\na,B\n", "line 4: 'a' stands in line 2 already"),
        ("student,name\n,A\n", "line 2: the column 'student' is empty"),
        ("student,name\na,A,extra\n", "line 2: expected 2 cells, got 3"),
        (b"student\n\xff\n", "line 2: not UTF-8"),
        ("", "line 1: the file is empty"),
    ],
)
def test_a_broken_roster_is_named_with_its_line_and_the_old_gradebook_stays(write, tmp_path, roster, message):
    write()
    before = (tmp_path / gradebook.NAME).read_bytes()
    with pytest.raises(TableError, match=f"roster.csv, {message}"):
        write(roster)
    assert (tmp_path / gradebook.NAME).read_bytes() == before
