"""The summary counts what there is to count, names copies and open work, and holds no student's markup."""

from __future__ import annotations

import re

import pytest

from exercises.grading import marks, summary
from tests.exercises.grading.made import (
    ATTACKS,
    PROBLEM,
    PROBLEMS,
    made_cell,
    made_result,
    solution_cells,
)
from tests.exercises.grading.reading import Reading, active_content


def _page(tmp_path, results, notes=()):
    entered = marks.merge(tmp_path, results, PROBLEMS)
    return summary.write(tmp_path, iter(results), PROBLEMS, entered, notes).read_text("utf-8")


def _rows(page: str) -> list[str]:
    return [" ".join(Reading(row).text.split()) for row in re.findall(r"<tr>.*?</tr>", page, re.DOTALL)]


def test_scores_are_counted_in_a_drawing_that_says_so_in_words(tmp_path):
    right = [made_result(f"student{i:02}") for i in range(3)]
    wrong = [made_result(f"student{i:02}", verdicts=("wrong values",)) for i in range(3, 5)]
    page = _page(tmp_path, right + wrong)
    (label,) = re.findall(r'aria-label="([^"]*)"', page)
    assert label.endswith("0 to 10 per cent: 2; 70 to 80 per cent: 3")
    assert "mean 7.8, median 13, lowest 0, highest 13 of 17 points" in Reading(page).text


def test_entered_marks_are_in_the_scores(tmp_path):
    results = [made_result()]
    _page(tmp_path, results)
    file = tmp_path / "marks" / f"{PROBLEM.slug}.csv"
    file.write_text(file.read_text("utf-8").replace(",1,,,", ",1,1,,"), "utf-8")
    page = _page(tmp_path, results)
    assert "mean 17" in Reading(page).text and "Marks that are missing" not in page
    assert "Task 5: explain what you see marks 4 1 100 %" in _rows(page)


def test_a_task_has_its_mean_share_who_tried_it_and_its_errors_by_students(tmp_path):
    results = [
        made_result("a", verdicts=("right", "right")),
        made_result("b", verdicts=("right", "transposed")),
        made_result("c", verdicts=("transposed", "transposed")),
        made_result("d", verdicts=("NotImplementedError", "NotImplementedError")),
    ]
    row = next(row for row in _rows(_page(tmp_path, results)) if row.startswith("Task 1"))
    assert row.startswith("Task 1: the NTK matrix checks 4 3 38 %")
    assert "2 × the transpose of the right result" in row and "1 × not written yet" in row


def test_errors_of_cells_are_counted_by_students(tmp_path):
    twice = [made_cell("NameError", "x"), made_cell("NameError", "y"), made_cell("TypeError", "z")]
    page = _page(tmp_path, [made_result("a", cells=twice), made_result("b", cells=twice[:1])])
    assert {"NameError 2", "TypeError 1"} <= set(_rows(page))


def test_copies_are_grouped_and_the_model_solution_is_told_apart(tmp_path):
    copied = [cell.replace("rows", "r").replace("jacobian", "J") for cell in solution_cells()]
    results = [made_result("a", code=solution_cells()), made_result("b", code=copied), made_result("c")]
    rows = [row for row in _rows(_page(tmp_path, results)) if row.startswith("code")]
    assert rows == ["code: the same the model solution a b 100 %"]


def test_answers_that_were_copied_are_grouped(tmp_path):
    answer = " ".join(f"word{i}" for i in range(200))
    answers = {
        "a": answer,
        "b": f"**{answer.upper()}**",
        "c": answer.replace("word100", "other"),
        "d": "Short.",
    }
    results = [made_result(name, answer=text) for name, text in answers.items()]
    rows = [row for row in _rows(_page(tmp_path, results)) if row.startswith("answers")]
    assert rows[0] == "answers: the same a b 100 %"
    assert rows[1].startswith("answers: nearly the same a b c ") and len(rows) == 2


def test_nothing_alike_is_said_too(tmp_path):
    assert "None." in Reading(_page(tmp_path, [made_result()])).text


def test_rejected_and_failed_are_listed_with_their_reasons(tmp_path):
    results = [
        made_result("a", status="rejected", reason="empty file: no content", score=0.0, tasks=()),
        made_result("b", status="failed", reason="the sandbox failed", score=None, tasks=()),
        made_result("c", status="stopped", reason="stopped: cpu time"),
    ]
    rows = _rows(_page(tmp_path, results))
    assert {
        "a rejected empty file: no content",
        "b failed the sandbox failed",
        "c stopped stopped: cpu time",
    } <= set(rows)
    assert "c 4 of 17 points await marks" in rows


def test_notes_stand_first(tmp_path):
    page = _page(tmp_path, [made_result()], ["Not on the roster: <b>x</b>"])
    assert page.index("Not on the roster: &lt;b&gt;") < page.index("<h3>Scores</h3>")


def test_files_of_no_problem_are_listed(tmp_path):
    strange = made_result(
        problem="", set="", status="rejected", reason="wrong file name", score=0.0, max_score=0.0, tasks=()
    )
    assert "student01 rejected wrong file name" in _rows(_page(tmp_path, [strange, made_result("b")]))


def test_no_submissions_at_all_give_a_page(tmp_path):
    assert "There are no submissions." in _page(tmp_path, [])


def test_the_same_results_give_the_same_bytes_in_any_order(tmp_path):
    results = [made_result(f"s{i}", verdicts=("right", "no return")[: 1 + i % 2]) for i in range(9)]
    assert _page(tmp_path / "a", results) == _page(tmp_path / "b", results[::-1])


@pytest.mark.parametrize("name", ATTACKS)
def test_nothing_of_a_student_is_active(tmp_path, name):
    text = ATTACKS[name]
    plain = Reading(
        _page(
            tmp_path / "plain",
            [made_result("plain", cells=[made_cell("x", "x")], status="stopped", reason="x")],
        )
    )
    page = _page(
        tmp_path / "attack",
        [
            made_result(
                text.encode("utf-8", "replace").decode()[:200],
                cells=[made_cell(text, text)],
                status="stopped",
                reason=text,
            )
        ],
    )
    assert not active_content(page)
    assert not Reading(page).crossed
    assert Reading(page).elements == plain.elements
    assert len(page) < 100_000
