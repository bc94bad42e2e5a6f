"""What every test shares: one thread per worker, tests of a module together, times of the book at the end."""

from __future__ import annotations

import os

import pytest

BOOK_FIXTURES = {"clean_build", "book_copy", "built_book"}

if "PYTEST_XDIST_WORKER" in os.environ:
    # Two workers of two threads each on two cores would wait for each other. Set before torch is loaded.
    os.environ["OMP_NUM_THREADS"] = "1"


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "xdist_group(name): tests of one group run in one worker")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put tests of the built book first and into one group, and every other module into a group of its own.

    The book is then built once, by one worker, from the first minute on, while the others test the package.
    """
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            uses_book = not BOOK_FIXTURES.isdisjoint(getattr(item, "fixturenames", ()))
            item.add_marker(pytest.mark.xdist_group("book" if uses_book else item.nodeid.split("::")[0]))
    items.sort(key=lambda item: item.get_closest_marker("xdist_group").args[0] != "book")


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
