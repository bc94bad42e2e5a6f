"""Docstrings of the package's style as document nodes.

Paragraphs, indented blocks (kept as they are), and the sections Args, Returns, Raises, Attributes, Example and
Source.  Formulas are plain text, so nothing in a docstring is read as markup but ``code``.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Any

from docutils import nodes

SECTIONS = (
    "Args",
    "Returns",
    "Raises",
    "Attributes",
    "Example",
    "Examples",
    "Source",
    "Sources",
    "Yields",
    "Note",
)
ITEM = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")


def body(thing: Any, text: str | None = None) -> list[nodes.Element]:
    """The nodes of an object's docstring, or of ``text``."""
    text = inspect.cleandoc(text) if text is not None else (inspect.getdoc(thing) or "")
    return blocks(text.splitlines(), parameters(thing))


def parameters(thing: Any) -> set[str]:
    try:
        return set(inspect.signature(thing).parameters)
    except (TypeError, ValueError):
        return set()


def blocks(lines: list[str], names: set[str]) -> list[nodes.Element]:
    """Paragraphs, kept blocks and sections of lines that start at the margin."""
    found: list[nodes.Element] = []
    while lines:
        if not lines[0].strip():
            lines = lines[1:]
            continue
        title = re.fullmatch(r"(\w+):( .*)?", lines[0])
        if title and title[1] in SECTIONS:
            inside, lines = indented(lines[1:])
            first = [title[2].strip()] if title[2] else []
            found += section(title[1], first + inside, names)
        elif lines[0].startswith(" "):
            kept, lines = indented(lines)
            found.append(literal(kept))
        else:
            count = next((i for i, line in enumerate(lines) if not line.strip()), len(lines))
            found += paragraph(lines[:count], names)
            lines = lines[count:]
    return found


def indented(lines: list[str]) -> tuple[list[str], list[str]]:
    """Leading indented or empty lines without their common indent, and the rest."""
    count = next((i for i, line in enumerate(lines) if line.strip() and not line.startswith(" ")), len(lines))
    block = inspect.cleandoc("\n" + "\n".join(lines[:count])).splitlines()
    return block, lines[count:]


def section(title: str, lines: list[str], names: set[str]) -> list[nodes.Element]:
    """A titled part: a list of items where lines look like ``name: words``, else text."""
    if title in ("Args", "Attributes", "Raises"):
        listed = items(lines)
        content = [definition_list(listed)] if listed else blocks(lines, names)
    else:
        content = blocks(lines, names)
    return [nodes.paragraph("", "", nodes.strong("", title), classes=["api-section"]), *content]


def items(lines: list[str]) -> list[tuple[str, list[str]]]:
    """(names, lines) of each item; empty where the first line is none."""
    found: list[tuple[str, list[str]]] = []
    for line in lines:
        match = ITEM.fullmatch(line)
        if match:
            found.append((match[1], [match[2]]))
        elif not found:
            return []
        else:
            found[-1][1].append(line)
    return found


def paragraph(lines: list[str], names: set[str]) -> list[nodes.Element]:
    """A list of arguments, a block of formulas or plain text."""
    listed = items(lines)
    told = {name.strip("* ") for item, _ in listed for name in item.split(",")}
    if listed and told <= names:
        return [definition_list(listed)]
    if len(lines) > 1 and all(" = " in line for line in lines):
        return [literal(lines)]
    below = next((i for i, line in enumerate(lines) if line.startswith("    ")), len(lines))
    text = [marked(" ".join(line.strip() for line in lines[:below]))]
    return text + (
        [literal(inspect.cleandoc("\n" + "\n".join(lines[below:])).splitlines())] if lines[below:] else []
    )


def definition_list(listed: list[tuple[str, list[str]]]) -> nodes.definition_list:
    """Names as code, their words below."""
    found = nodes.definition_list(classes=["api-items"])
    for name, lines in listed:
        words = "\n".join([lines[0], textwrap.dedent("\n".join(lines[1:]))]).strip()
        content = [marked(" ".join(part.split())) for part in re.split(r"\n\s*\n", words)]
        term = nodes.term("", "", nodes.literal("", name))
        found += nodes.definition_list_item("", term, nodes.definition("", *content))
    return found


def literal(lines: list[str]) -> nodes.literal_block:
    text = "\n".join(lines).rstrip()
    return nodes.literal_block(text, text, language="none", classes=["api-block"])


def marked(text: str) -> nodes.paragraph:
    """Text in which only backquotes count."""
    found = nodes.paragraph("", "", support_smartquotes=False)
    for i, part in enumerate(re.split(r"``(.+?)``|`([^`]+)`", text)):
        if part:
            found += nodes.literal("", part) if i % 3 else nodes.Text(part)
    return found
