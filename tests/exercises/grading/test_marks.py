"""Marks by hand: what an instructor entered survives everything, and a broken file says where it is broken."""

from __future__ import annotations

import csv
import io
import re
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exercises.grading import marks, tables
from exercises.grading.marks import COLUMNS, MarksError, merge
from tests.exercises.grading.made import ATTACKS, CRITERIA, PROBLEM, PROBLEMS, made_result
from tests.exercises.grading.reading import Reading

FULL = [criterion.points for criterion in CRITERIA]


class Course:
    """An OUT folder, its students' answers, and an instructor who edits the file."""

    def __init__(self, out, **answers):
        self.out, self.answers = out, answers
        self.file = out / "marks" / f"{PROBLEM.slug}.csv"
        self.page = self.file.with_suffix(".html")

    def run(self, **given):
        """One run of the grader; the marks by student."""
        results = [made_result(name, answer=answer, **given) for name, answer in sorted(self.answers.items())]
        return {student: found for (student, _), found in merge(self.out, iter(results), PROBLEMS).items()}

    def rows(self):
        """The file as a list of dictionaries."""
        return list(csv.DictReader(io.StringIO(self.file.read_text("utf-8"))))

    def enter(self, student, points, comment="fine", **cells):
        """Fill in the first criterion of a student."""
        rows = self.rows()
        row = next(row for row in rows if row["student"] == student)
        row.update(points=points, comment=comment, **cells)
        self.write(rows)

    def write(self, rows, header=COLUMNS):
        """Save the file as a spreadsheet would."""
        text = io.StringIO()
        writer = csv.DictWriter(text, header, extrasaction="ignore", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        self.file.write_text(text.getvalue(), "utf-8")


@pytest.fixture
def course(tmp_path):
    course = Course(tmp_path, student01="Taylor's remainder.", student02="By symmetry.")
    course.run()
    return course


def test_file_has_a_row_for_each_student_and_criterion_with_the_points_left_open(course):
    rows = course.rows()
    assert list(rows[0]) == list(COLUMNS)
    assert [(row["student"], row["criterion"]) for row in rows] == [
        (student, criterion.text) for student in ("student01", "student02") for criterion in CRITERIA
    ]
    assert {row["points"] for row in rows} == {""}
    assert [float(row["max_points"]) for row in rows] == FULL * 2


def test_entered_points_count_and_the_rest_awaits_marks(course):
    course.enter("student02", "0.5")
    merged = course.run()
    assert merged["student02"].points == 0.5
    assert merged["student02"].reason(17) == "3 of 17 points await marks"
    assert merged["student01"].reason(17) == "4 of 17 points await marks"
    assert course.run() == merged


def test_when_every_criterion_is_marked_nothing_awaits(course):
    course.write([row | {"points": row["max_points"]} for row in course.rows()])
    merged = course.run()
    assert merged["student01"].points == sum(FULL)
    assert merged["student01"].reason(17) == ""


def test_runs_without_edits_leave_the_bytes_as_they_are(course):
    course.enter("student01", "1", 'a "quoted", comment\nof two lines')
    course.run()
    files = {path: path.read_bytes() for path in course.out.rglob("*") if path.is_file()}
    course.run()
    assert {path: path.read_bytes() for path in course.out.rglob("*") if path.is_file()} == files


def test_new_students_are_added_and_entered_rows_stay(course):
    course.enter("student02", "1")
    course.answers["student00"] = "New."
    merged = course.run()
    assert [row["student"] for row in course.rows()][:: len(CRITERIA)] == [
        "student00",
        "student01",
        "student02",
    ]
    assert merged["student02"].points == 1 and merged["student00"].missing == sum(FULL)


def test_rows_of_students_who_withdrew_stay_in_the_file(course):
    course.enter("student01", "1")
    del course.answers["student01"]
    assert set(course.run()) == {"student02"}
    assert course.rows()[0]["points"] == "1"
    assert "submission is gone" in course.page.read_text("utf-8")
    course.answers["student01"] = "Taylor's remainder."
    assert course.run()["student01"].points == 1


def test_a_changed_answer_keeps_its_points_and_is_reported(course):
    course.enter("student01", "1")
    course.run()
    course.answers["student01"] = "Another proof."
    merged = course.run()["student01"]
    assert merged.points == 1 and merged.changed == {"answer"}
    assert "changed since it was marked: answer" in merged.reason(17)
    assert course.run()["student01"] == merged, "it is said until somebody has looked"
    assert "changed since it was marked" in course.page.read_text("utf-8")


def test_emptying_the_cell_submission_says_that_the_mark_is_for_the_present_answer(course):
    course.enter("student01", "1")
    course.answers["student01"] = "Another proof."
    course.enter("student01", "1", submission="")
    merged = course.run()["student01"]
    assert merged.points == 1 and not merged.changed


def test_white_space_alone_does_not_change_an_answer(course):
    course.enter("student01", "1")
    course.answers["student01"] = "  Taylor's\n\nremainder. "
    assert not course.run()["student01"].changed


def test_a_change_of_the_code_does_not_change_the_answer(course):
    course.enter("student01", "1")
    assert not course.run(verdicts=("no return",), digest="other")["student01"].changed


def test_an_answer_left_empty_gets_no_points_and_awaits_nothing_until_there_is_one(course):
    course.answers["student03"] = ""
    merged = course.run()["student03"]
    assert merged.points == 0 and merged.missing == 0
    assert {row["comment"] for row in course.rows() if row["student"] == "student03"} == {"no answer"}
    course.answers["student03"] = "Here it is."
    assert course.run()["student03"].missing == sum(FULL)
    course.answers["student03"] = ""
    assert course.run()["student03"].missing == 0


def test_the_stub_is_no_answer(course):
    course.answers["student03"] = PROBLEM.stubs["answer"]
    assert course.run()["student03"].missing == 0


def test_a_submission_that_could_not_be_read_adds_no_rows_and_keeps_marks(course):
    course.enter("student01", "1")
    for status in ("rejected", "failed"):
        course.answers = {"student01": "", "student09": ""}
        merged = course.run(status=status)
        assert merged["student01"].points == 1
        assert merged["student09"].rows == ()
        assert (merged["student01"].changed == {"answer"}) == (status == "rejected")


@pytest.mark.parametrize(
    "saved",
    {
        "byte order mark": lambda text: "\ufeff" + text,
        "line ends": lambda text: text.replace("\n", "\r\n"),
        "semicolons": lambda text: _separated(text, ";"),
        "tabs": lambda text: _separated(text, "\t"),
        "semicolons, decimal comma, all of it": lambda text: (
            "\ufeffsep=;\r\n" + _separated(text.replace(",0.5,", ',"0,5",'), ";").replace("\n", "\r\n")
        ),
        "decimal comma": lambda text: text.replace(",0.5,", ',"0,5",'),
        "empty rows and columns": lambda text: text.replace("\n", ",,\n") + ",,,,,,,,\n",
        "blanks": lambda text: text.replace(",0.5,", ", 0.5 ,"),
        "sorted otherwise": lambda text: "".join(
            [text.splitlines(True)[0], *sorted(text.splitlines(True)[1:])]
        ),
    }.items(),
    ids=lambda pair: pair[0],
)
def test_what_a_spreadsheet_saves_is_understood(course, saved):
    course.enter("student02", "0.5", "gut, aber knapp")
    expected = course.run()
    clean = course.file.read_bytes()
    course.file.write_bytes(saved[1](clean.decode("utf-8")).encode("utf-8"))
    assert course.run() == expected
    assert course.file.read_bytes() == clean


def _separated(text: str, separator: str) -> str:
    out = io.StringIO()
    csv.writer(out, delimiter=separator, lineterminator="\n").writerows(csv.reader(io.StringIO(text)))
    return out.getvalue()


def _row(**changes):
    return lambda rows: [rows[0] | changes, *rows[1:]]


BROKEN = {
    "no number": (_row(points="one"), r"line 2: points must be a number, got 'one'"),
    "above max": (_row(points="2"), r"line 2: points must be from 0 to 1, got '2'"),
    "negative": (_row(points="-1"), r"line 2: points must be from 0 to 1"),
    "not a number": (_row(points="nan"), r"line 2: points must be from 0 to 1"),
    "infinite": (_row(points="inf"), r"line 2: points must be from 0 to 1"),
    "unknown student": (
        _row(student="studnet01", points="1"),
        r"line 2: nobody called 'studnet01'.*mean 'student01'",
    ),
    "unknown task": (
        _row(task="anwser", points="1"),
        r"line 2: no task 'anwser' with a rubric; there is answer",
    ),
    "unknown criterion": (
        _row(criterion="the bound", points="1"),
        r"line 2: no criterion 'the bound'.*\"the bound: Taylor",
    ),
    "two marks": (
        lambda rows: [*rows, rows[0] | {"points": "1"}],
        r"line 10: other marks for student01.* in line 2",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_row_is_named_with_file_and_line_and_nothing_is_written(course, name):
    change, message = BROKEN[name]
    course.enter("student02", "1", "do not lose me")
    course.run()
    course.write(change(course.rows()))
    course.answers["student03"] = "New."
    _refused(course, message)


def _refused(course, message):
    before = {path: path.read_bytes() for path in course.out.rglob("*") if path.is_file()}
    with pytest.raises(MarksError, match=message) as caught:
        course.run()
    assert str(course.file) in str(caught.value)
    assert {path: path.read_bytes() for path in course.out.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("column", [name for name in COLUMNS if name != "max_points"])
def test_a_missing_column_is_named(course, column):
    course.write(course.rows(), [name for name in COLUMNS if name != column])
    _refused(course, f"line 1: no column '{column}'")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file is empty"),
        (b"\xff\xfe\x00", "line 1: not UTF-8"),
        (",".join(COLUMNS).encode() + b"\nstudent01,\xfc\n", "line 2: not UTF-8; save it as"),
        (",".join(COLUMNS).encode() + b"\nstudent01,answer\n", "line 2: expected 7 cells, got 2"),
        (",".join([*COLUMNS, "points"]).encode() + b"\n", "line 1: the column 'points' stands there twice"),
        (",".join(COLUMNS).encode() + b'\n"student01,answer\n', "line 2: unexpected end of data"),
    ],
)
def test_a_file_that_is_no_table_is_refused(course, content, message):
    course.file.write_bytes(content)
    _refused(course, message)


def test_all_broken_rows_are_named_at_once(course):
    course.write([row | {"points": "9"} for row in course.rows()])
    with pytest.raises(MarksError) as caught:
        course.run()
    assert len(str(caught.value).splitlines()) == 2 * len(CRITERIA)


def test_every_version_that_was_read_is_kept(course):
    course.enter("student01", "1", "first")
    first = course.file.read_bytes()
    course.run()
    course.enter("student01", "", "")
    course.run()
    kept = sorted((course.out / "marks" / "backup").glob(f"{PROBLEM.slug}.0*.csv"))
    assert [path.read_bytes() == first for path in kept] == [True, False]


def test_a_row_that_was_deleted_comes_back_without_points(course):
    course.write(course.rows()[1:])
    course.run()
    assert len(course.rows()) == 2 * len(CRITERIA)


def test_a_criterion_that_left_the_rubric_is_dropped_if_nothing_was_entered(course, monkeypatch):
    shorter = SimpleNamespace(
        slug=PROBLEM.slug,
        stubs=PROBLEM.stubs,
        rubric={"answer": CRITERIA[1:]},
        title=PROBLEM.title,
        tasks=PROBLEM.tasks,
        notebook=PROBLEM.notebook,
    )
    results = [made_result("student01"), made_result("student02")]
    merge(course.out, results, {PROBLEM.slug: shorter})
    assert len(course.rows()) == 2 * (len(CRITERIA) - 1)


def test_other_maximum_in_the_file_does_not_count(course):
    course.write([row | {"max_points": "100"} for row in course.rows()])
    course.enter("student01", "50")
    _refused(course, "from 0 to 1")


def test_cells_that_a_spreadsheet_would_compute_are_guarded_and_come_back(tmp_path):
    names = ("=1+1", "-x", "+x", "@x", "'x", "x")
    course = Course(tmp_path, **{name: "An answer." for name in names})
    course.run()
    for name in names:
        course.enter(tables.guard(name), "1", tables.guard("=HYPERLINK(1)"))
    assert all(not row["student"].startswith(("=", "+", "-", "@")) for row in course.rows())
    merged = course.run()
    assert {name: merged[name].points for name in names} == dict.fromkeys(names, 1.0)
    assert merged["=1+1"].rows[0].comment == "=HYPERLINK(1)"


@settings(deadline=None, max_examples=50)
@given(points=st.floats(0, 1), comment=st.text(st.characters(blacklist_categories=["Cs", "Cc"]), max_size=40))
def test_points_and_comments_go_through_any_number_of_runs(tmp_path_factory, points, comment):
    course = Course(tmp_path_factory.mktemp("out"), student01="An answer.")
    course.run()
    course.enter("student01", repr(points), tables.guard(comment))
    once = course.run()["student01"]
    assert once.rows[0].points == pytest.approx(points, abs=0.0051)
    assert once.rows[0].comment == comment.strip()
    assert course.run()["student01"] == once


@pytest.mark.parametrize("name", ATTACKS)
def test_reading_page_shows_answers_as_text_and_runs_only_its_own_script(tmp_path, name):
    Course(tmp_path / "plain", student01="plain").run()
    course = Course(tmp_path / "attack", student01=ATTACKS[name])
    course.run()
    page = course.page.read_text("utf-8")
    plain = (tmp_path / "plain" / "marks" / f"{PROBLEM.slug}.html").read_text("utf-8")
    read = Reading(page)
    keys = [(tag, sorted(attributes)) for tag, attributes in read.elements]
    assert keys == [(tag, sorted(attributes)) for tag, attributes in Reading(plain).elements]
    assert page.count("<script") == plain.count("<script") and not read.crossed
    assert "onerror" not in {key for _, attributes in read.elements for key in attributes}


def test_policy_of_the_reading_page_allows_scripts_by_their_hashes_alone(course):
    page = course.page.read_text("utf-8")
    policy = next(
        a["content"] for _, a in Reading(page).elements if "content" in a and "default-src" in a["content"]
    )
    assert re.fullmatch(r"default-src 'none'; .*; script-src( 'sha256-[\w+/]+=')+", policy)


def test_problems_without_a_rubric_have_no_file(tmp_path):
    bare = SimpleNamespace(slug=PROBLEM.slug, rubric={})
    assert merge(tmp_path, [made_result()], {PROBLEM.slug: bare}) == {}
    assert not (tmp_path / "marks").exists()


def test_names_of_answers_tell_answers_apart():
    assert marks.name_of("") == marks.name_of(" \n") == marks.EMPTY
    assert marks.name_of("a b") == marks.name_of(" a\nb ") != marks.name_of("ab")
    assert re.fullmatch("[0-9a-f]{10}", marks.name_of("\ud800"))
