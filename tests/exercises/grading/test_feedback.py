"""A student's page says what was found, gives nothing hidden away, and does nothing but show text."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exercises.grading import feedback, pages
from exercises.grading.compare import KINDS
from exercises.grading.marks import Mark, Marks
from tests.exercises.grading.made import ATTACKS, CRITERIA, PROBLEM, made_cell, made_result, made_task
from tests.exercises.grading.reading import Reading, active_content

UNSEEN = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def _marked(points=(1.0, 0.5, None, 0.0), comment="The bound is fine."):
    rows = [
        Mark("student01", "answer", criterion.text, criterion.points, given, comment, "0123456789")
        for criterion, given in zip(CRITERIA, points, strict=True)
    ]
    return Marks(tuple(rows))


def _with(text: str):
    """A result that carries ``text`` wherever a student could have put it."""
    tasks = (made_task(PROBLEM.tasks["ntk-matrix"], verdicts=(text, "right"), advice=(text,)),)
    return made_result(text[:255], cells=[made_cell(text, text)], status="stopped", reason=text, tasks=tasks)


def test_page_says_score_verdicts_in_plain_words_and_advice():
    verdicts = ("right", "constant factor", "transposed", "ValueError")
    result = made_result(verdicts=verdicts, advice=("Leave frozen parameters out.",))
    shown = Reading(feedback.page(result, PROBLEM)).text
    assert PROBLEM.title in shown and "student01" in shown
    assert "3.25 of 17 points" in shown and "1 of 4" in shown
    for words in (
        "right up to a constant factor",
        "the transpose of the right result",
        "the function raised ValueError",
    ):
        assert words in shown
    assert "Leave frozen parameters out." in shown


@pytest.mark.parametrize("kind", [*KINDS, "undefined", "missing", "NameError"])
def test_every_verdict_has_words_of_its_own(kind):
    assert len(feedback.words(kind)) > 4
    assert feedback.words(kind) not in {feedback.words(other) for other in KINDS if other != kind}


def test_errors_of_cells_come_with_number_class_line_and_message():
    page = feedback.page(
        made_result(cells=[made_cell(), made_cell("NameError", "name 'x' is not defined")]), PROBLEM
    )
    shown = Reading(page).text
    assert "Cell 4, line 2: NameError" in shown
    assert "name 'x' is not defined" in shown


def test_only_so_many_errors_are_listed():
    cells = [made_cell("ValueError", "x" * 5000, index=i) for i in range(1, 201)]
    page = feedback.page(made_result(cells=cells), PROBLEM)
    assert f"And {200 - feedback.CELLS} more." in page
    assert len(page) < 200_000


@pytest.mark.parametrize(
    ("status", "words"),
    [("stopped", "met a limit"), ("rejected", "was not run"), ("failed", "not with your work")],
)
def test_a_status_other_than_graded_is_explained_with_its_reason(status, words):
    score = None if status == "failed" else 0.0
    shown = Reading(feedback.page(made_result(status=status, reason="cpu time", score=score), PROBLEM)).text
    assert words in shown and "cpu time" in shown
    assert ("No score yet" in shown) == (status == "failed")


def test_marks_and_comments_appear_once_entered():
    shown = Reading(feedback.page(made_result(), PROBLEM, _marked())).text
    assert "14.5 of 17 points" in shown and "1 of 17 points await marks" in shown
    assert "0.5 of 1: tanh" in shown and "The bound is fine." in shown


def test_a_criterion_that_awaits_its_mark_is_not_shown():
    page = feedback.page(made_result(), PROBLEM, _marked((None, None, None, None), ""))
    shown = Reading(page).text
    assert "Not marked yet: 4 of 4 points" in shown
    assert all(criterion.text not in shown for criterion in CRITERIA)


def test_a_file_of_no_known_problem_gets_a_page():
    result = made_result(
        problem="", status="rejected", reason="wrong file name: x.ipynb", tasks=[], score=0.0
    )
    assert "wrong file name: x.ipynb" in Reading(feedback.page(result, None)).text


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_that_a_student_wrote_is_active_or_leaves_its_place(name):
    page = feedback.page(_with(ATTACKS[name]), PROBLEM, _marked(comment=ATTACKS[name]))
    plain = Reading(feedback.page(_with("plain text"), PROBLEM, _marked(comment="plain")))
    read = Reading(page)
    assert not active_content(page)
    assert not read.crossed and not set(read.open)
    assert read.elements == plain.elements, "the attack changed an element"
    assert not UNSEEN.search(page)
    page.encode("utf-8")


@pytest.mark.parametrize("name", ATTACKS)
def test_texts_are_cut(name):
    assert len(feedback.page(_with(ATTACKS[name]), PROBLEM)) < 100_000


@given(st.text(st.characters(), max_size=50))
def test_any_text_keeps_the_elements_as_they_are(text):
    plain = Reading(feedback.page(_with("plain text"), PROBLEM))
    read = Reading(feedback.page(_with(text or " "), PROBLEM))
    assert [tag for tag, _ in read.elements if tag not in ("code", "pre")] == [
        tag for tag, _ in plain.elements if tag not in ("code", "pre")
    ]


def test_policy_forbids_everything_but_styles():
    page = feedback.page(made_result(), PROBLEM)
    (policy,) = [
        a["content"] for tag, a in Reading(page).elements if a.get("http-equiv") == "Content-Security-Policy"
    ]
    assert policy.startswith("default-src 'none'; style-src 'unsafe-inline'")
    assert "script-src" not in policy
    assert page.index("Content-Security-Policy") < page.index("<style>")


def test_page_has_language_title_one_main_heading_and_headings_in_order():
    page = feedback.page(made_result(cells=[made_cell("NameError", "x")]), PROBLEM, _marked())
    read = Reading(page)
    levels = [int(tag[1]) for tag, _ in read.elements if re.fullmatch(r"h\d", tag)]
    assert ("html", {"lang": "en"}) in read.elements
    assert "title" in read.tags() and "main" in read.tags()
    assert levels[0] == 1 and levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


def test_the_same_result_gives_the_same_bytes(tmp_path):
    first = feedback.write(tmp_path, made_result(), PROBLEM)
    content, stamp = first.read_bytes(), first.stat().st_mtime_ns
    assert feedback.write(tmp_path, made_result(), PROBLEM) == first
    assert (first.read_bytes(), first.stat().st_mtime_ns) == (content, stamp)


def test_file_lies_in_the_students_folder_whatever_the_name(tmp_path):
    for student in ("student01", "ünal", "a b", "../../etc", "..", "a/b", "C:\\x", "x" * 250, "CON"):
        path = feedback.write(tmp_path, made_result(student), PROBLEM)
        assert path.parent.parent == tmp_path / "feedback"
        assert path.resolve().is_relative_to(tmp_path.resolve())


def test_cleaning_keeps_what_is_readable():
    assert pages.clean("a\tb\r\nc\rd") == "a\tb\nc\nd"
    assert (
        pages.clean("\u0928\u092e\u0938\u094d\u0924\u0947 \u06a9\u200c\u06cc 😀")
        == "\u0928\u092e\u0938\u094d\u0924\u0947 \u06a9\u200c\u06cc 😀"
    )
    assert pages.clean("x" * 30, 10) == "x" * 10 + " [and 20 more characters]"
    assert pages.number(3.0) == "3" and pages.number(2.345) == "2.35" and pages.number(100) == "100"
