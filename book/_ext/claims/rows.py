"""The file of rows, and what a build knows about each of them."""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import NamedTuple

import yaml
from myst_nb.sphinx_ import NbMetadataCollector
from sphinx.environment import BuildEnvironment

IDS = [f"C{number:02d}" for number in range(1, 72)]
FIELDS = {"id", "where", "claim", "verdict", "truth", "references", "chapter", "check"}
OPTIONAL = {"mended"}  # where a measurement corrected the row itself


class Cell(NamedTuple):
    """A cell that glues a claim's number: its page and anchor, and whether it asserts something before that."""

    docname: str
    anchor: str
    asserts: bool


def load(file: Path) -> dict:
    """The file's content; every row also has the number of its first ``line``."""
    text = file.read_text(encoding="utf-8")
    data = yaml.safe_load(text)
    rows = next(value for key, value in yaml.compose(text).value if key.value == "claims").value
    for row, node in zip(data["claims"], rows, strict=True):
        row["line"] = node.start_mark.line + 1
    return data


def complete(data: dict) -> list[dict]:
    """The rows that have what it takes to be shown."""
    return [row for row in data["claims"] if FIELDS <= row.keys() and row["chapter"] in data["chapters"]]


def page_of_claims(env: BuildEnvironment) -> tuple[str, dict] | tuple[None, None]:
    """The page that has the directive, and the content of its file."""
    for docname, metadata in env.metadata.items():
        if "claims" in metadata:
            return docname, metadata["claims"]
    return None, None


def cells(env: BuildEnvironment, name: str) -> list[Cell]:
    """The cells of all pages that glue the claim ``name``, such as C07."""
    return [cell for data in env.metadata.values() for cell in data.get("claim_cells", {}).get(name, [])]


def target(env: BuildEnvironment, name: str) -> tuple[str, str] | None:
    """(page, anchor) of ``(claim-c07)=``."""
    return env.get_domain("std").anonlabels.get(f"claim-{name.lower()}")


def measured(env: BuildEnvironment, cell: Cell, name: str) -> str | None:
    """The line that a cell glued in this build, whether it was executed or taken from the cache."""
    key = f"claim_{name.lower()}"
    if key not in NbMetadataCollector.get_doc_data(env)[cell.docname].get("glue", []):
        return None
    file = Path(env.mystnb_config.output_folder, f"{cell.docname}.glue.json")
    text = json.loads(file.read_text(encoding="utf-8"))[key]["data"].get("text/plain", "")
    try:
        return str(ast.literal_eval(text)).strip()
    except (SyntaxError, ValueError):
        return text.strip()
