"""What every test shares: one thread per worker, tests of a module together, one browser, times at the end."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import hypothesis
import pytest
from playwright.sync_api import sync_playwright

from .browser import ARGUMENTS, chromium_path, visit

ROOT = Path(__file__).resolve().parents[1]

# An example may be slow because the machine is busy: what must be fast is measured in benchmarks/.
hypothesis.settings.register_profile("course", deadline=None)
hypothesis.settings.load_profile("course")

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers of two threads each on two cores would wait for each other. Set before torch is loaded.
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the clean build of the book first and the tests that need the built book last.

    The book takes longest. One worker builds it from the first minute on while the others test the package,
    and when they come to the book's pages it is there. The browser too comes last: its event loop stays in the
    thread. Tests of a module stay in one worker (loadscope).
    """

    fixtures: dict[str, set[str]] = {}
    for item in items:
        fixtures.setdefault(module(item), set()).update(getattr(item, "fixturenames", ()))

    def turn(item: pytest.Item) -> int:
        needed = fixtures[module(item)]
        return 0 if "clean_build" in needed else 2 if needed & {"built_book", "browser"} else 1

    items.sort(key=turn)


@pytest.fixture
def record_property(record_property):
    """pytest's own, but values travel as text: a worker cannot send numpy's numbers to the one who prints them."""
    return lambda name, value: record_property(name, str(value))


def module(item: pytest.Item) -> str:
    return item.nodeid.split("::")[0]


@pytest.fixture(scope="session")
def browser():
    """The system's chromium, driven by playwright: one a worker, a second event loop in a thread is an error."""
    path = chromium_path()
    if path is None:
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=path, args=ARGUMENTS)
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser):
    """A function that opens an address (see ``browser.visit``); its pages are closed after the test."""
    opened = []

    def open_(url, **options):
        opened.append(visit(browser, str(url), **options))
        return opened[-1]

    yield open_
    for seen in opened:
        seen.page.context.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """Source of axe-core, the accessibility checker."""
    script = ROOT / "node_modules" / "axe-core" / "axe.min.js"
    if not script.is_file():
        if shutil.which("npm") is None:
            pytest.skip("npm is not installed (Debian: apt-get install npm)")
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True, stdin=subprocess.DEVNULL)
    return script.read_text()


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what tests recorded as ``record_property("measured ...", value)``."""
    reports = [report for group in ("passed", "failed") for report in terminalreporter.stats.get(group, [])]
    lines = [
        f"{name}: {value}"
        for report in reports
        for name, value in getattr(report, "user_properties", [])
        if name.startswith("measured")
    ]
    for line in dict.fromkeys(lines):
        terminalreporter.write_line(line)
