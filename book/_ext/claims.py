"""The page of claims: a directive, the numbers that this build measured, and a build that fails without them.

``claims.yml`` has a row for every claim (the fields are listed in ``FIELDS``); the page says::

    ```{claims} claims.yml
    ```

A row names its check:

* ``check: cell``: one code cell of the book says ``glue("claim_c07", "...", display=False)`` after ``assert``
  statements of its own, near a target ``(claim-c07)=``.  The page shows what was glued in this build.
* ``check: tests/book/test_claims.py::test_name``: a test function; the page says that the test-suite checks it.
* ``check: waits``: the row's chapter is not written yet.  The page never shows such a row as checked.

Whatever a row lacks is a warning, so that a build with ``-W`` fails: see ``problems``.  On other pages the words
"claim C07" become links to the row.
"""

from __future__ import annotations

import ast
import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from myst_nb.ext.glue.crossref import read_glue_cache
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.transforms.post_transforms import SphinxPostTransform
from sphinx.util import logging
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_refnode

LOGGER = logging.getLogger(__name__)
STATIC = Path(__file__).parent / "claims_static"

LAST = 71
IDS = [f"C{number:02d}" for number in range(1, LAST + 1)]
FIELDS = {"id", "where", "claim", "verdict", "truth", "references", "chapter", "check"}
OPTIONAL = {"mended", "also"}
KEY = re.compile(r"claim_c\d\d")
NAMED = re.compile(r"\bC\d\d\b")


class Cell(NamedTuple):
    """A cell that glues a claim's number: its anchor, and whether it asserts something before that."""

    anchor: str
    asserts: bool


class pending_check(nodes.General, nodes.Element):
    """Where a row's check goes once all pages are read; attribute ``row``."""


class pending_counts(nodes.General, nodes.Element):
    """Where the page's counts go."""


# Reading


def load(file: Path) -> dict:
    """The file's content; every row also has the number of its first ``line``."""
    text = file.read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    rows = next(value for key, value in yaml.compose(text).value if key.value == "claims").value
    for row, node in zip(data["claims"], rows, strict=True):
        row["line"] = node.start_mark.line + 1
    return data


class Claims(SphinxDirective):
    """``claims``: the whole page from one file."""

    required_arguments = 1

    def run(self):
        relative, file = self.env.relfn2path(self.arguments[0])
        self.env.note_dependency(relative)
        self.file = file
        data = load(Path(file))
        self.sources, self.verdicts, self.chapters = (data[k] for k in ("sources", "verdicts", "chapters"))
        self.env.metadata[self.env.docname]["claims"] = {**data, "file": relative}
        rows = [row for row in data["claims"] if FIELDS <= row.keys() and row["chapter"] in self.chapters]
        body = [pending_counts(), self.legend(), self.index(rows), self.controls()]
        return body + [
            self.group(key, rows) for key in self.chapters if any(r["chapter"] == key for r in rows)
        ]

    def myst(self, text: str, node: nodes.Element, line: int) -> nodes.Element:
        block = StringList(text.splitlines(), source=self.file)
        self.state.nested_parse(block, 0, node)
        return node

    def legend(self) -> nodes.Element:
        """What the verdicts and the names of the sources mean."""
        items = [f"**{word}**\n: {meaning}" for word, meaning in self.verdicts.items()]
        verdicts = self.myst("\n\n".join(items), nodes.container(classes=["claims-legend"]), 0)
        notes = [f"**{name}**\n: {meaning}" for name, meaning in self.sources.items()]
        sources = self.myst("\n\n".join(notes), nodes.container(classes=["claims-legend"]), 0)
        titles = (nodes.rubric("", words) for words in ("Verdicts", "Sources"))
        return nodes.container("", next(titles), verdicts, next(titles), sources)

    def index(self, rows: list[dict]) -> nodes.Element:
        """A link to every row, in order."""
        line = nodes.paragraph(classes=["claims-index"])
        for row in sorted(rows, key=lambda row: row["id"]):
            link = nodes.reference("", row["id"], internal=True, refid=row["id"].lower())
            line += [link, nodes.Text(" ")]
        return nodes.container("", nodes.rubric("", "By number"), line)

    def controls(self) -> nodes.Node:
        """Filters; a script shows them, since they do nothing without it."""
        chapters = "".join(
            f'<option value="chapter-{k}">{c["title"]}</option>' for k, c in self.chapters.items()
        )
        verdicts = "".join(
            f'<option value="verdict-{verdict}">{verdict}</option>' for verdict in self.verdicts
        )
        form = (
            '<form class="claims-filter" hidden>'
            f'<label>Chapter <select><option value="">all</option>{chapters}</select></label>'
            f'<label>Verdict <select><option value="">all</option>{verdicts}</select></label>'
            '<label>Words <input type="search" autocomplete="off"></label>'
            '<output aria-live="polite"></output></form>'
        )
        return nodes.raw("", form, format="html")

    def group(self, key: str, rows: list[dict]) -> nodes.section:
        title = self.chapters[key]["title"]
        section = nodes.section(ids=[f"claims-{key}"], names=[f"claims-{key}"], classes=["claims-group"])
        section += nodes.title("", title)
        section += [self.row(row) for row in rows if row["chapter"] == key]
        return section

    def part(self, card: nodes.Element, label: str, text: str, row: dict) -> None:
        if text:
            box = nodes.container(classes=["claim-" + label.lower().replace(" ", "-")])
            card += self.myst(f"**{label}.** {text}", box, row["line"])

    def row(self, row: dict) -> nodes.Element:
        name = row["id"].lower()
        classes = ["claim", f"verdict-{row['verdict']}", f"chapter-{row['chapter']}"]
        card = nodes.container(ids=[name], names=[name], classes=classes)
        self.state.document.note_explicit_target(card)
        head = nodes.paragraph(classes=["claim-head"])
        head += nodes.reference("", row["id"], internal=True, refid=name, classes=["claim-id"])
        head += [nodes.Text(" "), nodes.inline("", row["verdict"], classes=["claim-verdict"])]
        card += head
        places = (
            "; ".join(f"{source}, {place}" for source, place in row["where"].items())
            or "in none of the sources"
        )
        cited = ", ".join(f"{{cite:t}}`{key}`" for key in row["references"])
        self.part(card, "Stated", row["claim"], row)
        self.part(card, "What holds", row["truth"], row)
        self.part(card, "Mended", row.get("mended", ""), row)
        card += pending_check(row=row["id"])
        self.part(card, "Found in", f"{places}. **Literature.** {cited}.", row)
        return card


def collect_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Note the page's cells that glue claims, and give them anchors."""
    found: dict[str, list[Cell]] = {}
    for cell in doctree.findall(
        lambda node: isinstance(node, nodes.container) and node.get("nb_element") == "cell_code"
    ):
        for block in cell.findall(nodes.literal_block):
            if getattr(block.parent, "attributes", {}).get("nb_element") == "cell_code_source":
                for key, asserts in glued(block.astext()).items():
                    anchor = f"check-{key[-3:]}"
                    cell["ids"].append(anchor)
                    found.setdefault(key, []).append(Cell(anchor, asserts))
    app.env.metadata[app.env.docname]["claim_cells"] = found


def glued(source: str) -> dict[str, bool]:
    """Claims that a cell's source glues, each with whether an assertion that can fail stands before it."""
    try:
        tree = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE))
    except SyntaxError:
        return {}
    asserts, keys = [], {}

    def walk(node):
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.Assert) and not isinstance(child.test, ast.Constant):
                asserts.append(child.lineno)
            elif isinstance(child, ast.Call) and called(child) == "glue" and child.args:
                key = getattr(child.args[0], "value", None)
                if isinstance(key, str) and KEY.fullmatch(key):
                    keys[key] = child.lineno
            elif isinstance(child, ast.Call) and called(child).startswith("assert_"):
                asserts.append(child.lineno)
            if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                walk(child)

    walk(tree)
    return {key: any(line < at for line in asserts) for key, at in keys.items()}


def called(call: ast.Call) -> str:
    return getattr(call.func, "attr", getattr(call.func, "id", ""))


# Checking


def page_of_claims(env: BuildEnvironment) -> tuple[str, dict] | tuple[None, None]:
    for docname, metadata in env.metadata.items():
        if "claims" in metadata:
            return docname, metadata["claims"]
    return None, None


def cells(env: BuildEnvironment, name: str) -> list[tuple[str, Cell]]:
    """(page, cell) for every cell that glues the claim ``name``, such as C07."""
    key = f"claim_{name.lower()}"
    return [
        (doc, cell) for doc, meta in env.metadata.items() for cell in meta.get("claim_cells", {}).get(key, [])
    ]


def measured(env: BuildEnvironment, docname: str, name: str) -> str | None:
    """The line that a page glued for a claim in this build, executed or from the cache."""
    key = f"claim_{name.lower()}"
    if key not in NbMetadataCollector.get_doc_data(env)[docname].get("glue", []):
        return None
    text = read_glue_cache(env.mystnb_config.output_folder, docname)[key]["data"].get("text/plain", "")
    try:
        return str(ast.literal_eval(text)).strip()
    except (SyntaxError, ValueError):
        return text.strip()


def check_rows(app: Sphinx, env: BuildEnvironment) -> None:
    docname, data = page_of_claims(env)
    if docname is None:
        return
    for line, problem in problems(app, env, data):
        LOGGER.warning("claims: %s", problem, location=f"{data['file']}:{line}", type="claims")


def problems(app: Sphinx, env: BuildEnvironment, data: dict):
    """(line, what is wrong) for everything that keeps a row from being checked."""
    rows = data["claims"]
    count = Counter(row.get("id") for row in rows)
    missing = [name for name in IDS if name not in count]
    if missing:
        yield 1, f"no row for {', '.join(missing)}"
    for row in rows:
        name, line = row.get("id"), row["line"]
        if name not in IDS:
            yield line, f"the id {name!r} is not one of {IDS[0]} to {IDS[-1]}"
            continue
        if count[name] > 1:
            yield line, f"{name} has {count[name]} rows"
        keys = row.keys() - {"line"}
        if keys - OPTIONAL != FIELDS:
            yield line, f"{name}: missing {sorted(FIELDS - keys)}, unknown {sorted(keys - OPTIONAL - FIELDS)}"
            continue
        if row["verdict"] not in data["verdicts"]:
            yield line, f"{name}: the verdict {row['verdict']!r} is not one of {', '.join(data['verdicts'])}"
        for source in row["where"].keys() - data["sources"].keys():
            yield line, f"{name}: unknown source {source!r}"
        if row["chapter"] not in data["chapters"]:
            yield line, f"{name}: unknown chapter {row['chapter']!r}"
            continue
        yield from ((line, f"{name}: {problem}") for problem in check_problems(app, env, data, row))


def check_problems(app: Sphinx, env: BuildEnvironment, data: dict, row: dict):
    """What is wrong with the check of one row."""
    name, page = row["id"], data["chapters"][row["chapter"]]["page"]
    found = cells(env, name)
    if row["check"] == "waits":
        if page in env.all_docs:
            yield f"waits for a chapter that exists, {page}"
        if found:
            yield f"waits, but {found[0][0]} has a cell for it"
    elif row["check"] == "cell":
        if f"claim-{name.lower()}" not in env.get_domain("std").anonlabels:
            yield f"no page has the target (claim-{name.lower()})="
        if len(found) != 1:
            where = ", ".join(doc for doc, _ in found)
            yield f"one visible cell must glue claim_{name.lower()}, found {len(found)} ({where})"
        for doc, cell in found:
            if not cell.asserts:
                yield f"its cell in {doc} glues before it asserts anything"
            if not measured(env, doc, name):
                yield f"{doc} gives no number for it in this build"
    elif not test_exists(Path(app.srcdir), row["check"]):
        yield f"there is no test {row['check']!r}"


def test_exists(root: Path, address: str) -> bool:
    file, _, function = str(address).partition("::")
    if not function.startswith("test_") or not (root / file).is_file():
        return False
    tree = ast.parse((root / file).read_text(encoding="utf-8"))
    return any(isinstance(node, ast.FunctionDef) and node.name == function for node in tree.body)


def refresh(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Have the page of claims written whenever any page was read: its numbers may have changed."""
    docname, _ = page_of_claims(env)
    return [docname] if docname else []


# Writing


class FillIn(SphinxPostTransform):
    """Put the checks and the counts into the page of claims."""

    default_priority = 4  # before references are resolved

    def run(self, **kwargs):
        docname, data = page_of_claims(self.env)
        if docname != self.env.docname:
            return
        rows = {row["id"]: row for row in data["claims"] if row.get("id")}
        state = {name: self.state_of(row, data) for name, row in rows.items() if FIELDS <= row.keys()}
        for node in list(self.document.findall(pending_check)):
            kind, body = state[node["row"]]
            node.parent["classes"].append(f"check-{kind}")
            if kind in ("waits", "missing"):
                node.parent.children[0] += [
                    nodes.Text(" "),
                    nodes.inline("", "not checked yet", classes=["claim-status"]),
                ]
            node.replace_self(
                nodes.paragraph(
                    "", "", nodes.strong("", "Check."), nodes.Text(" "), *body, classes=["claim-check"]
                )
            )
        for node in list(self.document.findall(pending_counts)):
            node.replace_self(self.counts(rows, state, data))

    def state_of(self, row: dict, data: dict) -> tuple[str, list[nodes.Node]]:
        """(checked | tested | waits | missing, what to say)."""
        name = row["id"]
        if row["check"] == "waits":
            title = data["chapters"][row["chapter"]]["title"]
            return "waits", [
                nodes.Text("Not checked yet: waits for the chapter "),
                nodes.emphasis("", title),
                nodes.Text("."),
            ]
        if row["check"] != "cell":
            return "tested", [
                nodes.Text("By the test-suite: "),
                nodes.literal("", row["check"].split("::")[-1]),
            ]
        for doc, cell in cells(self.env, name):
            if number := measured(self.env, doc, name):
                number = nodes.inline("", number, classes=["claim-number"])
                return "cell", [number, nodes.Text(" "), *self.links(row, doc, cell)]
        return "missing", [nodes.Text("none in this build.")]

    def links(self, row: dict, doc: str, cell: Cell) -> list[nodes.Node]:
        """To the cell, and to where the text treats the claim."""
        links = [nodes.Text("("), self.link(doc, cell.anchor, "the cell that measured and asserts it")]
        label = self.env.get_domain("std").anonlabels.get(f"claim-{row['id'].lower()}")
        if label:
            title = self.env.titles[label[0]].astext()
            links += [nodes.Text("; discussed in "), self.link(label[0], label[1], title)]
        return [*links, nodes.Text(")")]

    def link(self, docname: str, anchor: str, words: str) -> nodes.Node:
        return make_refnode(self.app.builder, self.env.docname, docname, anchor, nodes.inline("", words))

    def counts(self, rows: dict, state: dict, data: dict) -> nodes.Element:
        kinds = Counter(kind for kind, _ in state.values())
        verdicts = Counter(row["verdict"] for row in rows.values() if row["id"] in state)
        words = f"Of {len(rows)} claims, {kinds['cell']} were measured and asserted in this build"
        if kinds["tested"]:
            words += f", {kinds['tested']} are checked by the test-suite"
        words += (
            f", and {kinds['waits']} wait for chapters that are not written yet. " if kinds["waits"] else ". "
        )
        if kinds["missing"]:
            words += f"{kinds['missing']} have no check. "
        words += "Verdicts: " + ", ".join(f"{verdicts[v]} {v}" for v in data["verdicts"] if verdicts[v]) + "."
        return nodes.paragraph("", words, classes=["claims-counts"])


class LinkClaims(SphinxPostTransform):
    """On every other page, "claim C07" links to its row."""

    default_priority = 5
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
        names = {row.get("id") for row in data["claims"]}
        for text in list(self.document.findall(nodes.Text)):
            if text.parent is not None and NAMED.search(text) and not self.within(text):
                text.parent.replace(text, list(self.linked(str(text), docname, names)))

    def within(self, node: nodes.Node) -> bool:
        while node := node.parent:
            if isinstance(node, self.skip):
                return True
        return False

    def linked(self, text: str, docname: str, names: set[str]):
        last = 0
        for found in NAMED.finditer(text):
            if found[0] in names:
                yield nodes.Text(text[last : found.start()])
                row = nodes.inline("", found[0])
                yield make_refnode(self.app.builder, self.env.docname, docname, found[0].lower(), row)
                last = found.end()
        yield nodes.Text(text[last:])


def add_files(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    if "claims" in app.env.metadata.get(pagename, {}):
        app.add_css_file("claims.css")
        app.add_js_file("claims.js", loading_method="defer")


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    app.add_node(pending_check)
    app.add_node(pending_counts)
    app.add_directive("claims", Claims)
    app.add_post_transform(FillIn)
    app.add_post_transform(LinkClaims)
    app.connect("doctree-read", collect_cells)
    app.connect("env-updated", refresh)
    app.connect("env-check-consistency", check_rows)
    app.connect("html-page-context", add_files)
    app.connect("builder-inited", lambda app: app.config.html_static_path.append(str(STATIC)))
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
