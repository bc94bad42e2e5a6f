"""Benchmarks: every one has a recorded table with date and machine, and the book shows them all."""

import importlib
import json
import pkgutil
import re
import sys
from datetime import date

import pytest
from docutils import nodes

import benchmarks
from benchmarks import __main__ as command

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
import recorded

PAGE = ROOT / "book/reference/benchmarks.md"
NAMES = [
    module.name
    for module in pkgutil.iter_modules(benchmarks.__path__)
    if not module.name.startswith("_") and "def run(" in (ROOT / f"benchmarks/{module.name}.py").read_text()
]


@pytest.fixture
def results():
    return json.loads(command.RESULTS.read_text())


def test_the_page_shows_the_table_of_every_benchmark(results):
    shown = re.findall(r"```\{recorded\} \S+ (\w+)", PAGE.read_text(encoding="utf-8"))
    assert sorted(shown) == sorted(NAMES) == sorted(results)


@pytest.mark.parametrize("name", NAMES)
def test_a_recorded_table_is_complete_and_has_the_columns_that_its_benchmark_writes(results, name):
    table = results[name]
    assert date.fromisoformat(table["date"]) and "PyTorch" in table["machine"] and table["busy"] >= 0
    assert table["rows"] and all(len(row) == len(table["header"]) for row in table["rows"])
    source = (ROOT / f"benchmarks/{name}.py").read_text()
    assert all(f'"{word}"' in source for word in table["header"])
    assert importlib.import_module(f"benchmarks.{name}").__doc__


def test_a_table_is_kept_in_place_of_its_last_one(tmp_path, monkeypatch):
    monkeypatch.setattr(command, "RESULTS", tmp_path / "results.json")
    command.keep("one", 0.1, "Title", ["a"], [["1"]])
    command.keep("two", 3.0, "Other", ["b"], [["2"]])
    command.keep("one", 0.1, "Title", ["a"], [["3"]])
    kept = json.loads(command.RESULTS.read_text())
    assert sorted(kept) == ["one", "two"] and kept["one"]["rows"] == [["3"]]


def test_numbers_stand_right_and_words_left():
    result = {"title": "T", "header": ["method", "ms"], "rows": [["fast", "1.5"], ["none", ""]]}
    table = recorded.table(result)
    assert next(table.findall(nodes.title)).astext() == "T"
    assert [bool(entry["classes"]) for entry in table.findall(nodes.entry)] == [False, True] * 3
