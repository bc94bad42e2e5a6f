"""What is known only when all pages are read: checks, counts, and links from other pages."""

from __future__ import annotations

import re
from collections import Counter

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util.nodes import make_refnode

from .page import pending_check, pending_counts
from .rows import Cell, cells, complete, measured, page_of_claims, target


class FillIn(SphinxPostTransform):
    """Put the checks and the counts into the page of claims."""

    default_priority = 4  # before references are resolved

    def run(self, **kwargs):
        docname, data = page_of_claims(self.env)
        if docname != self.env.docname:
            return
        checks = {row["id"]: self.check(row, data) for row in complete(data)}
        for node in list(self.document.findall(pending_check)):
            kind, words = checks[node["row"]]
            card = node.parent
            card["classes"].append(f"check-{kind}")
            if kind in ("waits", "missing"):
                status = nodes.inline("", "not checked yet", classes=["claim-status"])
                card.children[0] += [nodes.Text(" "), status]
            label = nodes.strong("", "Check.")
            node.replace_self(
                nodes.paragraph("", "", label, nodes.Text(" "), *words, classes=["claim-check"])
            )
        for node in list(self.document.findall(pending_counts)):
            node.replace_self(counts(data, Counter(kind for kind, _ in checks.values())))

    def check(self, row: dict, data: dict) -> tuple[str, list[nodes.Node]]:
        """(cell | test | waits | missing, what to say)."""
        name = row["id"]
        if row["check"] == "waits":
            title = nodes.emphasis("", data["chapters"][row["chapter"]]["title"])
            return "waits", [nodes.Text("Waits for the chapter "), title, nodes.Text(".")]
        if row["check"] != "cell":
            test = nodes.literal("", row["check"].split("::")[-1])
            return "test", [nodes.Text("Passed in this build: the test "), test, nodes.Text(".")]
        for cell in cells(self.env, name):
            if number := measured(self.env, cell, name):
                shown = nodes.inline("", number, classes=["claim-number"])
                return "cell", [
                    nodes.Text("Measured in this build: "),
                    shown,
                    nodes.Text(" "),
                    *self.links(cell, name),
                ]
        return "missing", [nodes.Text("None in this build.")]

    def links(self, cell: Cell, name: str) -> list[nodes.Node]:
        """To the cell, and to where the text treats the claim."""
        links = [nodes.Text("("), self.link(cell.docname, cell.anchor, "the cell that asserts it")]
        if place := target(self.env, name):
            links += [nodes.Text("; discussed in "), self.link(*place, self.env.titles[place[0]].astext())]
        return [*links, nodes.Text(").")]

    def link(self, docname: str, anchor: str, words: str) -> nodes.Node:
        return make_refnode(self.app.builder, self.env.docname, docname, anchor, nodes.inline("", words))


def counts(data: dict, kinds: Counter) -> nodes.paragraph:
    """The page's first sentence."""
    parts = [f"{kinds['cell']} were measured and asserted in this build"]
    if kinds["test"]:
        parts.append(f"{kinds['test']} passed a test in this build")
    if kinds["waits"]:
        parts.append(f"{kinds['waits']} wait for chapters that are not written yet")
    if kinds["missing"]:
        parts.append(f"{kinds['missing']} have no check")
    verdicts = Counter(row["verdict"] for row in complete(data))
    shares = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in data["verdicts"] if verdicts[verdict])
    listed = " and ".join(part for part in (", ".join(parts[:-1]), parts[-1]) if part)
    words = f"Of {sum(kinds.values())} claims, {listed}. Their verdicts: {shares}."
    return nodes.paragraph("", words, classes=["claims-counts"])


class LinkClaims(SphinxPostTransform):
    """In running text, C07 links to its row."""

    default_priority = 5
    name = re.compile(r"\bC\d\d\b")
    skip = (
        nodes.reference,
        nodes.title,
        nodes.literal,
        nodes.literal_block,
        nodes.raw,
        nodes.math,
        nodes.math_block,
    )

    def run(self, **kwargs):
        docname, data = page_of_claims(self.env)
        if docname is None:
            return
        names = {row["id"] for row in complete(data)}
        for text in list(self.document.findall(nodes.Text)):
            if self.name.search(text) and not within(text, self.skip):
                text.parent.replace(text, list(self.linked(str(text), docname, names)))

    def linked(self, text: str, docname: str, names: set[str]):
        last = 0
        for found in self.name.finditer(text):
            if found[0] in names:
                yield nodes.Text(text[last : found.start()])
                row = nodes.inline("", found[0])
                yield make_refnode(self.app.builder, self.env.docname, docname, found[0].lower(), row)
                last = found.end()
        yield nodes.Text(text[last:])


def within(node: nodes.Node, kinds: tuple[type, ...]) -> bool:
    while node := node.parent:
        if isinstance(node, kinds):
            return True
    return False
