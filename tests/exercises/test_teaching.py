"""The instructor's guide: its terminal sessions happen as printed, its recipes run, its syllabus knows every problem."""

from __future__ import annotations

import json
import re
import subprocess
import sys

import nbformat
import pytest

from exercises.grading import sandbox
from exercises.grading.problem import all_problems
from tests.exercises import transcripts
from tests.exercises.transcripts import FOLDER, ROOT, SESSIONS, alike, commands

GUIDE = ROOT / "book" / "teaching"
PAGES = sorted(GUIDE.glob("*.md"))


@pytest.fixture(scope="module")
def recorded(tmp_path_factory) -> dict[str, str]:
    """All sessions as they go now."""
    if missing := sandbox.available():
        pytest.skip(missing)
    return transcripts.record_all(tmp_path_factory.mktemp("course"))


@pytest.mark.parametrize("name", SESSIONS)
def test_session_goes_as_the_guide_prints_it(name, recorded):
    printed = (FOLDER / f"{name}.txt").read_text("utf-8")
    assert alike(recorded[name]) == alike(printed), "record it again: python -m tests.exercises.transcripts"


def test_every_session_is_in_the_guide_and_the_other_way_round():
    shown = set(
        re.findall(
            r"\{literalinclude\} transcripts/(\w+)\.txt", "".join(page.read_text("utf-8") for page in PAGES)
        )
    )
    assert shown == set(SESSIONS) == {file.stem for file in FOLDER.glob("*")}


@pytest.mark.parametrize("name", SESSIONS)
def test_a_session_names_no_place_of_the_machine_that_recorded_it(name):
    text = (FOLDER / f"{name}.txt").read_text("utf-8")
    assert not re.search(r"/(tmp|home|root|work)/", text)
    assert "Traceback" not in text and commands(text)


def test_how_far_and_how_fast_a_run_was_does_not_count():
    first = "$ x\n 12%|█▎        | 1/8 [00:00<00:01,  6.44 notebooks/s]\nset/problem: computing the expected values\n"
    assert alike(f"{first}1 graded\n") == "$ x\n1 graded\n"


def test_continued_commands_are_one():
    assert commands("$ a \\\n> b\nout\n> no command\n$ c\n") == ["a \\\nb", "c"]


def test_every_page_is_in_the_table_of_contents():
    toc = (ROOT / "_toc.yml").read_text("utf-8")
    assert all(f"book/teaching/{page.stem}\n" in toc for page in PAGES)


@pytest.fixture
def autograder(tmp_path):
    """Run the script for Gradescope for a student's address; what it reports."""

    def run(email: str, score: str = "9.50") -> dict:
        for folder in ("source", "results"):
            (tmp_path / folder).mkdir(exist_ok=True)
        table = f"student,email,ntk_matrix,total\nx,other@example.org,1.00,1.00\ny,Student01@example.org,{score},{score}\n"
        (tmp_path / "source" / "gradebook.csv").write_text(table)
        (tmp_path / "submission_metadata.json").write_text(
            json.dumps({"users": [{"email": email, "id": 1, "name": "One"}]})
        )
        subprocess.run([sys.executable, GUIDE / "run_autograder"], cwd=tmp_path, check=True)
        return json.loads((tmp_path / "results" / "results.json").read_text())

    return run


def test_autograder_for_gradescope_reports_the_score_of_the_table(autograder):
    assert autograder("student01@example.org") == {"score": 9.5}


@pytest.mark.parametrize(("email", "score"), [("nobody@example.org", "9.50"), ("student01@example.org", "")])
def test_autograder_for_gradescope_says_if_there_is_no_score(autograder, email, score):
    report = autograder(email, score)
    assert report["score"] == 0 and "no score" in report["output"]


def _tables() -> list[str]:
    return (GUIDE / "syllabus.md").read_text("utf-8").split("\n## ")[1:3]


def test_twelve_weeks_set_every_problem_and_nothing_else():
    named = set(
        re.findall(r"`(\w+)`", "".join(line for line in _tables()[1].splitlines() if line.startswith("| ")))
    )
    assert named == set(all_problems())


def test_hours_of_a_problem_are_those_that_its_notebook_states():
    rows = re.findall(r"^\| \d .*?\| (`.*) \| [\d.]+ \+ (.*) \|$", _tables()[0], re.MULTILINE)
    assert len(rows) == 6
    for problems, hours in rows:
        stated = [_minutes(name) / 60 for name in re.findall(r"`(\w+)`", problems)]
        given = [float(part) for part in hours.split(" or ")]
        assert given == pytest.approx(stated, abs=0.13), problems


def _minutes(problem: str) -> float:
    first = nbformat.read(all_problems()[problem].path, as_version=4).cells[0].source
    return float(re.search(r"\*\*Time\*\* \| (\d+) minutes", first).group(1))


def test_sections_of_the_syllabus_are_headings_of_their_chapters():
    for table in _tables():
        for chapter, sections in re.findall(r"\[\]\(\.\./(foundations/\w+\.md)\) \| (.*?) \|", table):
            text = (ROOT / "book" / chapter).read_text("utf-8")
            for section in re.findall(r"\*(.*?)\*", sections):
                assert re.search(rf"^## {re.escape(section)}", text, re.MULTILINE), f"{chapter}: {section}"
