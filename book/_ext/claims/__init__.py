"""The page of claims: a directive, the numbers that this build measured, and a build that fails without them.

``claims.yml`` has a row for every claim (fields: ``rows.FIELDS``); the page says::

    ```{claims} claims.yml
    ```

A row names its check:

* ``check: cell``: one code cell of the book says ``glue("claim_c07", "...", display=False)`` after ``assert``
  statements of its own, and a page has the target ``(claim-c07)=``.  The page shows what was glued in this build.
* ``check: tests/test_finite.py::test_name``: a test function, which the build runs.
* ``check: waits``: the row's chapter is not written yet.  The page never shows such a row as checked.

Whatever a row lacks is a warning (see ``checks``), so a build with ``-W`` fails.  On other pages the words
"claim C07" become links to the row.
"""

from __future__ import annotations

from pathlib import Path

from sphinx.application import Sphinx

from . import checks, page, writing

STATIC = Path(__file__).parent / "static"


def add_files(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Style and filters, where they are used."""
    if "claims" in app.env.metadata.get(pagename, {}):
        app.add_css_file("claims.css")
        app.add_js_file("claims.js", loading_method="defer")


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_node(page.pending_check)
    app.add_node(page.pending_counts)
    app.add_directive("claims", page.Claims)
    app.add_post_transform(writing.FillIn)
    app.add_post_transform(writing.LinkClaims)
    app.connect("doctree-read", checks.collect_cells)
    app.connect("env-updated", checks.refresh)
    app.connect("env-check-consistency", checks.warn)
    app.connect("html-page-context", add_files)
    app.connect("builder-inited", lambda app: app.config.html_static_path.append(str(STATIC)))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
