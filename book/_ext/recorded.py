"""Tables of benchmarks that were run at another time, with date and machine.

    ```{recorded} ../../benchmarks/results.json kernels
    ```

shows one table of the file that ``make bench`` writes.
"""

from __future__ import annotations

import json
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective


class Recorded(SphinxDirective):
    """``recorded``: file and name of a table."""

    required_arguments = 2

    def run(self):
        relative, file = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        results = json.loads(Path(file).read_text(encoding="utf-8")) if Path(file).is_file() else {}
        name = self.arguments[1]
        if name not in results:
            raise self.error(
                f"recorded: {relative} has no table {name!r}; `python -m benchmarks {name}` makes it"
            )
        result = results[name]
        note = f"Recorded on {result['date']}: {result['machine']}."
        if result["busy"] > 0.5:
            note += f" Other programs ran at the same time ({result['busy']:g} for each core): times are too long."
        return [table(result), nodes.paragraph("", "", nodes.emphasis("", note), support_smartquotes=False)]


def table(result: dict) -> nodes.table:
    """Rows under their header and title; a column of numbers stands right."""
    header, rows = result["header"], result["rows"]
    group = nodes.tgroup("", *(nodes.colspec("", colwidth=1) for _ in header), cols=len(header))
    right = [all(is_number(row[i]) for row in rows if row[i]) for i in range(len(header))]
    group += nodes.thead("", line(header, right))
    group += nodes.tbody("", *(line(row, right) for row in rows))
    return nodes.table("", nodes.title("", result["title"]), group, classes=["recorded"])


def line(cells: list[str], right: list[bool]) -> nodes.row:
    entries = []
    for cell, number in zip(cells, right, strict=True):
        text = nodes.paragraph("", str(cell), support_smartquotes=False)
        entries.append(nodes.entry("", text, classes=["text-right"] if number else []))
    return nodes.row("", *entries)


def is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_directive("recorded", Recorded)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
