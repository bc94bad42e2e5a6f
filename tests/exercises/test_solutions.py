"""Every solution notebook, executed by nbval in a real kernel against its stored outputs."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from xml.etree import ElementTree

import pytest

from exercises import release
from tests.exercises.notebooks import SOURCES, read_source

MARKED = "nbval-check-output"  # nbval compares the text of these cells exactly, and only runs the others


@pytest.mark.timeout(600)
def test_solutions_run_and_reproduce_their_stored_outputs(tmp_path, record_property):
    report = tmp_path / "report.xml"
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=120", "-p", "no:cacheprovider"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", *options, f"--junitxml={report}", *map(str, SOURCES.values())],
        cwd=release.ROOT.parent,
        env={key: value for key, value in os.environ.items() if not key.startswith("PYTEST_")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr

    suite = ElementTree.parse(report).getroot().find("testsuite")
    cells = [cell for problem in SOURCES for cell in read_source(problem).cells if cell.cell_type == "code"]
    assert int(suite.get("tests")) == len(cells) > 0
    assert int(suite.get("skipped")) == 0
    spent = Counter()
    for case in suite.iter("testcase"):
        spent[case.get("classname").split(".")[-2]] += float(case.get("time"))  # of SET.PROBLEM.ipynb
    slowest = ", ".join(f"{name} {seconds:.0f}" for name, seconds in spent.most_common(3))
    record_property(
        "measured seconds for the solution notebooks", f"{float(suite.get('time')):.0f}; {slowest}"
    )


@pytest.mark.parametrize("problem", SOURCES)
def test_stored_outputs_are_short_complete_and_free_of_warnings(problem):
    cells = [cell for cell in read_source(problem).cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]
    assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
    assert {output.output_type for output in outputs} <= {"stream", "display_data"}
    assert all(output.name == "stdout" for output in outputs if output.output_type == "stream")
    assert all(len(output.get("text", "")) < 600 for output in outputs)
    assert any(MARKED in cell.metadata.get("tags", []) and cell.outputs for cell in cells)
