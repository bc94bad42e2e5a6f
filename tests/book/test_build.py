"""The build itself: clean, complete, never stale, and the same by every command."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import nbformat

from .conftest import ROOT, build, extension, pages

course = extension("course")


def with_cells() -> list[str]:
    return [page for page in pages() if "{code-cell}" in (ROOT / f"{page}.md").read_text()]


def article(path: Path) -> str:
    """The content of a built page, without the theme's frame."""
    return re.search("<article.*?</article>", path.read_text(), re.DOTALL)[0]


# The whole book; its build stands in the fixture `clean_build`.


def test_clean_build_passes_without_warning(clean_build, record_property):
    assert clean_build["passed"], clean_build["log"]
    assert "build succeeded." in clean_build["log"]
    record_property("measured cold build of the book", f"{clean_build['seconds']:.0f} s")


def test_clean_build_executes_every_page(clean_build, book_copy):
    ran = set(re.findall(r"(\S+)\.md: (?:Executed notebook|Using cached notebook)", clean_build["log"]))
    assert ran == {str(book_copy / page) for page in with_cells()}


def test_every_cell_was_executed_without_error(book_copy, built_book):
    executed = {}
    for path in (book_copy / "_build" / ".jupyter_cache").glob("*/executed/*/base.ipynb"):
        notebook = nbformat.read(path, as_version=4)
        executed[tuple(cell.source for cell in notebook.cells)] = notebook.cells
    for page in with_cells():
        notebook = nbformat.read(book_copy / "_build" / "jupyter_execute" / f"{page}.ipynb", as_version=4)
        cells = executed[tuple(cell.source for cell in notebook.cells if cell.cell_type == "code")]
        for cell in cells:
            assert cell.execution_count is not None, f"{page}: not executed:\n{cell.source}"
            assert all(output.output_type != "error" for output in cell.outputs), f"{page}: {cell.source}"


def test_plain_rebuild_executes_nothing_and_gives_the_same_pages(
    book_copy, built_book, tmp_path, record_property
):
    again = tmp_path / "course"
    shutil.copytree(book_copy, again, symlinks=True)
    shutil.rmtree(again / "_build" / "html")
    shutil.rmtree(again / "_build" / "jupyter_execute")
    log, seconds = build(again)
    record_property("measured cached rebuild of the book", f"{seconds:.0f} s")
    assert "Executing notebook" not in log
    for page in pages():
        assert article(again / "_build/html" / f"{page}.html") == article(built_book / f"{page}.html"), page


def test_outputs_are_kept_under_the_key_of_the_package(book_copy, built_book):
    kept = [path.name for path in (book_copy / "_build" / ".jupyter_cache").iterdir()]
    assert kept == [course.cache_key(book_copy)]


def test_built_book_holds_no_trace_of_the_machine(book_copy, built_book):
    for page in pages():
        assert str(book_copy) not in (built_book / f"{page}.html").read_text(), page
