"""Hostile submissions through the whole grader, in one run beside honest neighbours.

Each gets a grade or a typed reason, none more than its honest part is worth; the neighbours keep all their points,
nothing is written outside OUT, no process stays, and nothing that was hidden comes out.
"""

from __future__ import annotations

import csv
import io
import json
import os
import random
import re
import secrets
import socket
import subprocess
import sys
import tarfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import psutil
import pytest

from exercises.grading.entries import FILE_BYTES
from exercises.grading.feedback import path as page_of
from exercises.grading.grade import Reference
from exercises.grading.sandbox import available
from tests.exercises.grading import samples
from tests.exercises.grading.hostile import CASES, FULL, HONEST, NAMES, WORTH, Case, fill_in
from tests.exercises.grading.samples import NTK, QUICK, code, notebook

pytestmark = pytest.mark.skipif(available() is not None, reason=str(available()))

REPOSITORY = Path(__file__).resolve().parents[3]
SEED = 11
NEIGHBOURS = [f"honest {number}" for number in range(4)]
ENTRIES = {
    "../outside/ntk_matrix.ipynb": "unsafe path",
    "/tmp/absolute/ntk_matrix.ipynb": "unsafe path",
    "honest 1/../honest 2/ntk_matrix.ipynb": "unsafe path",
    "back\\slash/ntk_matrix.ipynb": "unsafe path",
}
LINKS = {
    "symbolic": tarfile.SYMTYPE,
    "hard": tarfile.LNKTYPE,
    "device": tarfile.CHRTYPE,
    "pipe": tarfile.FIFOTYPE,
}


def fill(archive: tarfile.TarFile, values: dict[str, str]) -> None:
    """Everything that is handed in, hostile and honest in a fixed random order."""
    files = {f"{student}/ntk_matrix.ipynb": notebook([code(QUICK)]) for student in NEIGHBOURS}
    files |= {f"{name}/{case.file}": fill_in(case.content, values) for name, case in CASES.items()}
    files |= {f"{fill_in(name.encode(), values).decode()}/ntk_matrix.ipynb": first_task() for name in NAMES}
    files |= dict.fromkeys(ENTRIES, first_task())
    names = list(files)
    random.Random(SEED).shuffle(names)
    for name in names:
        info = tarfile.TarInfo(name)
        info.size = len(files[name])
        archive.addfile(info, io.BytesIO(files[name]))
    for name, kind in LINKS.items():
        info = tarfile.TarInfo(f"{name}/ntk_matrix.ipynb")
        info.type, info.linkname = kind, "honest 1/ntk_matrix.ipynb" if name == "hard" else values["SECRET"]
        archive.addfile(info)


def first_task() -> bytes:
    """Worth WORTH."""
    return notebook([code(HONEST)])


@pytest.fixture(scope="module")
def graded(tmp_path_factory):
    """One run of the command over everything."""
    folder = tmp_path_factory.mktemp("hostile")
    out, submitted, secret = folder / "out", folder / "submitted.tar.gz", folder / "secret"
    canary, token = (f"{word}{secrets.token_hex(8)}" for word in ("canary", "token"))
    secret.write_text(canary)
    places = [
        "/",
        "/tmp",
        "/var/tmp",
        "/dev/shm",
        "/etc",
        "/usr/local/lib",
        "/root",
        str(Path.home()),
        str(out),
    ]
    places += [str(folder), str(REPOSITORY), str(REPOSITORY / "exercises"), *sys.path[1:]]
    with socket.create_server(("127.0.0.1", 0)) as server:
        values = {
            "TOKEN": token,
            "SECRET": str(secret),
            "OUT": str(out),
            "SUBMITTED": str(submitted),
            "REPOSITORY": str(REPOSITORY),
            "PLACES": repr(places),
            "PORT": str(server.getsockname()[1]),
            "SLEEP": f"{random.SystemRandom().randrange(10**6, 10**7)}",
        }
        with tarfile.open(submitted, "w:gz", compresslevel=1) as archive:
            fill(archive, values)
        command = [sys.executable, "-m", "exercises.grading", str(submitted), "--out", str(out)]
        command += ["--jobs", "4", "--cpu-seconds", "2", "--seed", str(SEED), "--problem", "ntk_matrix"]
        done = subprocess.run(
            command,
            cwd=REPOSITORY,
            env=os.environ | {"CANARY": canary},
            capture_output=True,
            text=True,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-5000:]
    with (out / "grades.csv").open(newline="", encoding="utf-8") as table:
        rows = {row["student"]: row for row in csv.DictReader(table)}
    return SimpleNamespace(
        out=out,
        folder=folder,
        rows=rows,
        canary=canary,
        places=places,
        said=done.stdout + done.stderr,
        values=values,
    )


def row_of(graded, student: str) -> dict[str, str]:
    """The line of grades.csv; names that a spreadsheet would run have a ' before them."""
    return graded.rows.get(student) or graded.rows[f"'{student}"]


def test_there_are_at_least_sixty_and_all_have_one_line(graded):
    assert len(CASES) >= 60
    assert len(graded.rows) == len(NEIGHBOURS) + len(CASES) + len(NAMES) + len(ENTRIES) + len(LINKS)


@pytest.mark.parametrize("student", NEIGHBOURS)
def test_honest_neighbour_keeps_all_points(graded, student):
    row = row_of(graded, student)
    assert (row["status"], float(row["score"])) == ("graded", FULL), row["reason"]


@pytest.mark.parametrize("name", CASES)
def test_hostile_submission_gets_what_its_honest_part_is_worth_and_a_reason(graded, name):
    case: Case = CASES[name]
    row = row_of(graded, name)
    assert row["status"] in case.status, row
    assert 0 <= float(row["score"]) <= case.worth, row
    assert case.score is None or float(row["score"]) == case.score, row
    assert row["reason"]
    assert case.reason in row["reason"], row


@pytest.mark.parametrize("name", NAMES)
def test_name_is_graded_as_it_is_or_rejected(graded, name):
    filled = fill_in(name.encode(), graded.values).decode()
    row = row_of(graded, filled if not NAMES[name] else filled.encode("unicode_escape").decode())
    if NAMES[name]:
        assert (row["status"], float(row["score"])) == ("rejected", 0)
        assert row["reason"].startswith(NAMES[name])
    else:
        assert (row["status"], float(row["score"])) == ("graded", WORTH)


def test_entries_that_lead_elsewhere_are_rejected(graded):
    for name, reason in ENTRIES.items():
        row = row_of(graded, name.replace("\\", r"\\"))
        assert (row["status"], float(row["score"])) == ("rejected", 0)
        assert row["reason"].startswith(reason)
    for name in LINKS:
        assert row_of(graded, name)["reason"].startswith("unreadable file: ")


def test_nothing_was_written_elsewhere(graded):
    token = graded.values["TOKEN"]
    assert [place for place in graded.places if Path(place, token).exists()] == []
    assert not list(Path("/tmp").glob(f"*{token}*"))
    assert sorted(path.name for path in graded.folder.iterdir()) == ["out", "secret", "submitted.tar.gz"]
    assert {path.name for path in graded.out.iterdir()} == {
        "feedback", "grades.csv", "marks", "results", "run.json", "run.lock", "summary.html"
    }  # fmt: skip
    assert not Path("/tmp/absolute").exists()
    assert not (graded.folder / "outside").exists()


def test_no_process_stays(graded):
    left = [
        p.info
        for p in psutil.process_iter(["cmdline"])
        if graded.values["SLEEP"] in (p.info["cmdline"] or [])
    ]
    assert left == []


def test_secrets_do_not_come_out(graded):
    assert graded.canary not in graded.said
    for path in graded.out.rglob("*"):
        if path.is_file():
            assert graded.canary.encode() not in path.read_bytes(), path


def hidden_numbers() -> set[str]:
    """Long decimals of every hidden input and expected value, as Python and numpy write them."""
    reference = Reference.compute(NTK, SEED)
    found = set(re.findall(r"-?\d\.\d{9,}", json.dumps(reference.calls)))
    for value in reference.expected:
        found |= {repr(number) for number in np.ravel(value).tolist()}
    return {number[:9] for number in found if len(number) > 10}


def test_no_hidden_input_or_expected_value_comes_out(graded):
    numbers = hidden_numbers()
    assert len(numbers) > 500
    written = [path for path in graded.out.rglob("*") if path.is_file()]
    text = "\n".join([graded.said, *(path.read_text("utf-8") for path in written)])
    assert numbers & set(re.findall(r"-?\d\.\d{7}", text)) == set()
    (task, *_) = json.loads(result_of(graded, "hidden inputs told by the class of an error").read_bytes())[
        "result"
    ]["tasks"]
    assert set(task["verdicts"]) == {"ValueError"}


def result_of(graded, student: str) -> Path:
    """The stored result of one student."""
    for path in (graded.out / "results").iterdir():
        if json.loads(path.read_bytes())["result"]["student"] == student:
            return path
    raise LookupError(student)


def test_feedback_has_no_active_content(graded):
    pages = [graded.out / "summary.html", *graded.out.glob("feedback/*/*.html")]
    assert len(pages) > len(CASES)
    for page in pages:
        text = page.read_text("utf-8")
        assert not re.search(r"<script|<img|<[^>]* on\w+\s*=|href=[\"']?javascript:", text, re.IGNORECASE), (
            page
        )
        assert not re.search("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text), page
    name = "markup in an error"
    assert "&lt;script&gt;" in page_of(graded.out, name, NTK.slug).read_text("utf-8")


def test_no_cell_of_a_table_is_a_formula(graded):
    for table in graded.out.rglob("*.csv"):
        with table.open(newline="", encoding="utf-8") as lines:
            cells = [cell for row in csv.reader(lines) for cell in row]
        assert not [cell for cell in cells if cell.startswith(("=", "+", "-", "@", "\t"))]


def test_results_are_small_whatever_was_handed_in(graded):
    assert len(CASES["bomb"].content) > FILE_BYTES
    assert sum(path.stat().st_size for path in graded.out.glob("[fr]*/**/*") if path.is_file()) < 3 * 2**20
    assert len([line for line in graded.said.splitlines() if "notebooks" not in line]) < 20


def test_released_stubs_are_worth_nothing():
    assert set(samples.FUNCTIONS) == {task.id for task in NTK.tasks.values() if task.kind == "code"}
