"""The directive: counts, verdicts, links by number, filters, and the rows by chapter."""

from __future__ import annotations

from html import escape
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

from .rows import complete, load


class pending_check(nodes.General, nodes.Element):
    """Where a row's check goes once all pages are read; attribute ``row``."""


class pending_counts(nodes.General, nodes.Element):
    """Where the page's counts go."""


class Claims(SphinxDirective):
    """``claims``: the whole page from one file."""

    required_arguments = 1

    def run(self):
        relative, file = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        self.file, data = file, load(Path(file))
        self.env.metadata[self.env.docname]["claims"] = {**data, "file": relative}
        rows, chapters = complete(data), data["chapters"]
        groups = [
            section(key, chapter["title"], cards, "claims-group")
            for key, chapter in chapters.items()
            if (cards := [self.card(row) for row in rows if row["chapter"] == key])
        ]
        head = [
            pending_counts(),
            self.legend(data["verdicts"]),
            index(rows),
            controls(chapters, data["verdicts"]),
        ]
        return [*head, *groups, section("sources", "Sources", [self.legend(data["sources"])])]

    def myst(self, text: str, *classes: str) -> nodes.container:
        box = nodes.container(classes=list(classes))
        self.state.nested_parse(StringList(text.splitlines(), source=self.file), 0, box)
        return box

    def legend(self, meanings: dict[str, str]) -> nodes.Element:
        items = [f"**{word}**\n: {meaning}" for word, meaning in meanings.items()]
        return self.myst("\n\n".join(items), "claims-legend")

    def card(self, row: dict) -> nodes.Element:
        """One row."""
        name = row["id"].lower()
        card = nodes.container(ids=[name], names=[name])
        card["classes"] = ["claim", f"verdict-{row['verdict']}", f"chapter-{row['chapter']}"]
        self.state.document.note_explicit_target(card)
        card += nodes.paragraph(
            "",
            "",
            nodes.reference("", row["id"], internal=True, refid=name, classes=["claim-id"]),
            nodes.Text(" "),
            nodes.inline("", row["verdict"], classes=["claim-verdict"]),
            classes=["claim-head"],
        )
        card += self.myst(f"**Stated.** {row['claim']}", "claim-stated")
        card += self.myst(f"**What holds.** {row['truth']}", "claim-truth")
        if "mended" in row:
            card += self.myst(f"**Mended.** {row['mended']}", "claim-mended")
        card += pending_check(row=row["id"])
        places = "; ".join(f"{source}, {place}" for source, place in row["where"].items())
        found = f"**Found in.** {places or 'none of the sources'}."
        if row["references"]:
            found += f" **Literature.** {{cite:t}}`{','.join(row['references'])}`."
        card += self.myst(found, "claim-found-in")
        return card


def section(key: str, title: str, body: list[nodes.Node], *classes: str) -> nodes.section:
    name = f"claims-{key}"
    return nodes.section("", nodes.title("", title), *body, ids=[name], names=[name], classes=list(classes))


def index(rows: list[dict]) -> nodes.Element:
    """A link to every row, in order."""
    line = nodes.paragraph(classes=["claims-index"])
    for row in sorted(rows, key=lambda row: row["id"]):
        line += [nodes.reference("", row["id"], internal=True, refid=row["id"].lower()), nodes.Text(" ")]
    return line


def controls(chapters: dict, verdicts: dict) -> nodes.Node:
    """Filters; a script shows them, since they do nothing without it."""

    def menu(label: str, options: dict[str, str]) -> str:
        choices = {"": "all", **options}
        items = "".join(f'<option value="{value}">{escape(word)}</option>' for value, word in choices.items())
        return f"<label>{label} <select>{items}</select></label>"

    form = (
        '<form class="claims-filter" hidden>'
        + menu("Chapter", {f"chapter-{key}": chapter["title"] for key, chapter in chapters.items()})
        + menu("Verdict", {f"verdict-{verdict}": verdict for verdict in verdicts})
        + '<label>Words <input type="search" autocomplete="off"></label><output aria-live="polite"></output></form>'
    )
    return nodes.raw("", form, format="html")
