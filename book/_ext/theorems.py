"""The list of theorems: every numbered statement of the book, from the labels of the chapters.

The directive's body gives assumptions in a phrase, a label a line; a statement without a phrase is listed all
the same, and a phrase without a statement is a warning::

    ```{theorems}
    thm-definition-psd: any model that is differentiable in its parameters
    ```

A statement counts as proved where an admonition whose title begins with "Proof" follows it before the next one.
"""

from __future__ import annotations

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective

LOGGER = logging.getLogger(__name__)


class pending_theorems(nodes.General, nodes.Element):
    """Where the lists go; its children are the phrases, each with its ``label``."""


class Theorems(SphinxDirective):
    """``theorems``: one list a page that has numbered statements."""

    has_content = True

    def run(self):
        phrases = yaml.safe_load("\n".join(self.content)) or {}
        if not isinstance(phrases, dict):
            raise self.error("theorems: every line is 'label: assumptions'")
        node = pending_theorems()
        self.set_source_info(node)
        for label, phrase in phrases.items():
            block = StringList(str(phrase).splitlines(), source=self.content.source(0))
            box = nodes.container(label=label)
            self.state.nested_parse(block, self.content_offset, box)
            node += box
        self.env.metadata[self.env.docname]["theorem_phrases"] = (list(phrases), node.line)
        return [node]


def collect(app: Sphinx, doctree: nodes.document) -> None:
    """Note the page's numbered statements: label, kind, title and how it is proved."""
    found, last = [], None
    for node in doctree.findall(nodes.Element):
        if "realtype" in node.attributes and "label" in node.attributes:
            last = {"label": node["label"], "kind": node["realtype"], "title": title_of(node), "proof": ""}
            found.append(last)
        elif isinstance(node, nodes.Admonition) and last and isinstance(node[0], nodes.title):
            if node[0].astext().startswith("Proof"):
                last["proof"] = node[0].astext()
    app.env.metadata[app.env.docname]["theorems"] = found


def title_of(node: nodes.Element) -> list[nodes.Node]:
    """The statement's own title, without citations and the brackets that sphinx-proof puts around it."""
    parts = [part.deepcopy() for part in node[0].children if not isinstance(part, addnodes.pending_xref)]
    if parts and isinstance(parts[0], nodes.Text):
        parts[0] = nodes.Text(parts[0].lstrip(" ("))
    if parts and isinstance(parts[-1], nodes.Text):
        parts[-1] = nodes.Text(parts[-1].removesuffix(")").rstrip())
    return parts


def statements(env: BuildEnvironment) -> dict[str, list[dict]]:
    """Page -> its statements, pages in the order of the table of contents."""
    pages = [page for page, metadata in env.metadata.items() if metadata.get("theorems")]
    pages.sort(key=lambda page: (env.toc_secnumbers.get(page, {}).get("", (10**6,)), page))
    return {page: env.metadata[page]["theorems"] for page in pages}


def check_phrases(app: Sphinx, env: BuildEnvironment) -> None:
    known = {statement["label"] for page in statements(env).values() for statement in page}
    for page, metadata in env.metadata.items():
        labels, line = metadata.get("theorem_phrases", ([], None))
        for label in labels:
            if label not in known:
                LOGGER.warning(
                    "theorems: no statement has the label %r", label, location=(page, line), type="theorems"
                )


def refresh(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Have the list written whenever any page was read."""
    return [page for page, metadata in env.metadata.items() if "theorem_phrases" in metadata]


class FillIn(SphinxPostTransform):
    """Put the lists in, before references are resolved."""

    default_priority = 4

    def run(self, **kwargs):
        for node in list(self.document.findall(pending_theorems)):
            phrases = {box["label"]: box.children for box in node.children}
            parts = []
            for page, listed in statements(self.env).items():
                items = [self.item(statement, phrases.get(statement["label"])) for statement in listed]
                title = nodes.rubric("", self.env.titles[page].astext())
                parts += [title, nodes.definition_list("", *items, classes=["theorem-list"])]
            node.replace_self(parts)

    def item(self, statement: dict, phrase: list[nodes.Node] | None) -> nodes.definition_list_item:
        """Number, title and proof of one statement, and its assumptions below."""
        name = nodes.inline("", statement["label"])
        link = addnodes.pending_xref("", name, refdomain="prf", reftype="ref", reftarget=statement["label"])
        link.attributes |= {"refdoc": self.env.docname, "refwarn": True, "refexplicit": False}
        term = nodes.term("", "", link)
        if statement["title"]:
            term += [nodes.Text(": "), *(part.deepcopy() for part in statement["title"])]
        if how := proof_of(statement):
            term += [nodes.Text(" "), nodes.emphasis("", f"({how})")]
        below = phrase or [nodes.paragraph("", "Assumptions as stated there.")]
        return nodes.definition_list_item("", term, nodes.definition("", *below))


def proof_of(statement: dict) -> str:
    """How the book stands by a statement."""
    words = statement["proof"].lower()
    if words:
        return "sketched" if "sketch" in words else "orders derived" if "order" in words else "proved"
    return "" if statement["kind"] in ("definition", "assumption") else "cited"


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_node(pending_theorems)
    app.add_directive("theorems", Theorems)
    app.add_post_transform(FillIn)
    app.connect("doctree-read", collect)
    app.connect("env-updated", refresh)
    app.connect("env-check-consistency", check_phrases)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
