"""What keeps a row from being checked, told as warnings."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.environment import BuildEnvironment
from sphinx.util import logging

from .rows import FIELDS, IDS, OPTIONAL, Cell, cells, measured, page_of_claims, target

LOGGER = logging.getLogger(__name__)
KEY = re.compile(r"claim_(c\d\d)")


def collect_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Note the page's cells that glue claims, and give them anchors."""
    found: dict[str, list[Cell]] = {}
    for block in doctree.findall(nodes.literal_block):
        if isinstance(block.parent, nodes.container) and block.parent.get("nb_element") == "cell_code_source":
            for name, asserts in glued(block.astext()).items():
                anchor = f"check-{name.lower()}"
                block.parent.parent["ids"].append(anchor)
                found.setdefault(name, []).append(Cell(app.env.docname, anchor, asserts))
    app.env.metadata[app.env.docname]["claim_cells"] = found


def glued(source: str) -> dict[str, bool]:
    """Claims that a cell's source glues, each with whether an assertion that can fail stands before it.

    Bodies of functions do not count: nothing says that they run.
    """
    try:
        tree = ast.parse(re.sub(r"^[%!].*$", "", source, flags=re.MULTILINE))
    except SyntaxError:
        return {}
    asserts, names = [], {}

    def walk(node: ast.AST) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Lambda):
                continue
            if isinstance(child, ast.Assert) and not isinstance(child.test, ast.Constant):
                asserts.append(child.lineno)
            elif isinstance(child, ast.Call):
                called = getattr(child.func, "attr", getattr(child.func, "id", ""))
                key = getattr(child.args[0], "value", None) if child.args else None
                if called.startswith("assert_"):
                    asserts.append(child.lineno)
                elif called == "glue" and isinstance(key, str) and (claim := KEY.fullmatch(key)):
                    names[claim[1].upper()] = child.lineno
            walk(child)

    walk(tree)
    return {name: any(line < at for line in asserts) for name, at in names.items()}


def refresh(app: Sphinx, env: BuildEnvironment) -> list[str]:
    """Have the page of claims written whenever any page was read: its numbers may have changed."""
    docname, _ = page_of_claims(env)
    return [docname] if docname else []


def warn(app: Sphinx, env: BuildEnvironment) -> None:
    """One warning for each problem, with the row's place in the file."""
    docname, data = page_of_claims(env)
    if docname:
        for line, problem in problems(app, env, data):
            LOGGER.warning("claims: %s", problem, location=f"{data['file']}:{line}", type="claims")


def problems(app: Sphinx, env: BuildEnvironment, data: dict) -> Iterator[tuple[int, str]]:
    """(line, what is wrong) for the whole file."""
    count = Counter(row.get("id") for row in data["claims"])
    if missing := [name for name in IDS if name not in count]:
        yield 1, f"no row for {', '.join(missing)}"
    for row in data["claims"]:
        yield from ((row["line"], f"{row.get('id')}: {problem}") for problem in in_row(app, env, data, row))
        if count[row.get("id")] > 1:
            yield row["line"], f"{row['id']}: has {count[row['id']]} rows"


def in_row(app: Sphinx, env: BuildEnvironment, data: dict, row: dict) -> Iterator[str]:
    """What is wrong with one row."""
    fields = row.keys() - {"line"}
    if row.get("id") not in IDS:
        yield f"the id is not one of {IDS[0]} to {IDS[-1]}"
    elif fields - OPTIONAL != FIELDS:
        yield f"fields missing: {sorted(FIELDS - fields)}, unknown: {sorted(fields - OPTIONAL - FIELDS)}"
    elif row["chapter"] not in data["chapters"]:
        yield f"unknown chapter {row['chapter']!r}"
    else:
        if row["verdict"] not in data["verdicts"]:
            yield f"the verdict {row['verdict']!r} is not one of {', '.join(data['verdicts'])}"
        if unknown := row["where"].keys() - data["sources"].keys():
            yield f"unknown source {sorted(unknown)}"
        yield from in_check(app, env, data["chapters"][row["chapter"]]["page"], row)


def in_check(app: Sphinx, env: BuildEnvironment, chapter: str, row: dict) -> Iterator[str]:
    """What is wrong with the check of one row."""
    name, found = row["id"], cells(env, row["id"])
    if row["check"] == "waits":
        if chapter in env.all_docs:
            yield f"waits for a chapter that exists, {chapter}"
        if found:
            yield f"waits, but {found[0].docname} has a cell for it"
    elif row["check"] == "cell":
        if target(env, name) is None:
            yield f"no page has the target (claim-{name.lower()})="
        if len(found) != 1:
            pages = ", ".join(cell.docname for cell in found) or "none"
            yield f"one cell whose code is shown must glue claim_{name.lower()}, found: {pages}"
        for cell in found:
            if not cell.asserts:
                yield f"its cell in {cell.docname} asserts nothing before it glues"
            if not measured(env, cell, name):
                yield f"{cell.docname} gives no number for it in this build"
    elif "::test_" not in str(row["check"]) or not passes(Path(app.srcdir), row["check"]):
        yield f"there is no test {row['check']!r}, or it does not pass"


def passes(root: Path, test: str) -> bool:
    """Whether there is such a test, and it passes here and now."""
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
        f"--rootdir={root}",
        test,
    ]
    environment = {
        **os.environ,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }  # plugins would take longer than the test
    quiet = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run(command, cwd=root, env=environment, **quiet).returncode == 0
