"""From the untrusted bytes of a notebook to the cells that run and the written answers.

Nothing of the notebook is executed, compiled or believed here.  The functions to write are called by their
names, so a notebook whose cells lost their metadata, or were moved, split or copied, is worth as much as before.

What runs: the problem's own set-up cells, then the learner's code cells in order.  Left out are copies of
locked cells (checks, experiments, figures) and stubs that were left as they are.  A cell that carries the mark
of a locked one but defines something of its own runs: it was made by copy and paste.

A written answer is the text of its cell and of all Markdown cells that the learner added between that cell and
the next known one.
"""

from __future__ import annotations

import itertools
import json
import re
from dataclasses import dataclass, field
from functools import cache

from exercises import release
from exercises.grading.problem import Problem

MOST_CELLS = 2000
MOST_CODE = 1_000_000  # characters, all code cells together
MOST_ANSWER = 100_000
LONGEST_NAME, MOST_NAMES = 100, 2000  # of functions that may be what a learner meant
MOST_ITEMS = 3_000_000  # commas and brackets: what makes parsed JSON large
_DEFINITION = re.compile(r"^[ \t]*(?:async[ \t]+)?(?:def|class)[ \t]+(\w+)", re.MULTILINE)
_ASSIGNMENT = re.compile(r"^(\w+)[ \t]*(?::[^=\n]*)?=(?!=)", re.MULTILINE)


class NotebookError(ValueError):
    """The bytes are no notebook that can be graded; the message is a kind, a colon and a sentence."""


@dataclass(frozen=True)
class Cell:
    """One cell; ``place`` counts from 0."""

    kind: str
    place: int
    source: str
    grade_id: str | None = None
    pictures: tuple[str, ...] = ()


@dataclass
class Plan:
    """What to do with a notebook.

    The problem's own set-up comes first in ``cells``; ``places[i]`` is the place of ``cells[i]`` in the learner's
    notebook (-1 for set-up).  ``untouched`` has the tasks whose stub was left as it is.
    """

    cells: list[str]
    places: list[int]
    answers: dict[str, str] = field(default_factory=dict)
    untouched: set[str] = field(default_factory=set)


def read(content: bytes) -> list[Cell]:
    """The cells of a notebook.

    Raises:
        NotebookError: not a notebook of nbformat 4 for Python, or one of absurd size.
    """
    notebook = _parsed(content)
    _check_format(notebook)
    _check_language(notebook.get("metadata"))
    cells = []
    for place, item in enumerate(notebook["cells"]):
        kind = item.get("cell_type") if isinstance(item, dict) else None
        source = _joined(item.get("source")) if kind else None
        if not isinstance(kind, str) or source is None:
            raise NotebookError(f"damaged notebook: cell {place + 1} of {len(notebook['cells'])} is no cell")
        cells.append(Cell(kind, place, source, _grade_id(item), _pictures(item)))
    if sum(len(cell.source) for cell in cells if cell.kind == "code") > MOST_CODE:
        raise NotebookError(
            f"too much code: more than {MOST_CODE} characters; read data from the kit instead"
        )
    return cells


def _parsed(content: bytes) -> dict:
    if not content.strip():
        raise NotebookError("empty file: the upload has no content; hand it in again")
    if content.count(b",") + content.count(b"[") + content.count(b"{") > MOST_ITEMS:
        raise NotebookError(
            "too complex: clear all outputs (Edit, Clear Outputs of All Cells) and save again"
        )
    try:
        notebook = json.loads(content)
    except RecursionError:
        raise NotebookError("not a notebook: its JSON is nested too deeply") from None
    except UnicodeDecodeError:
        raise NotebookError("not a notebook: the file is not UTF-8 text") from None
    except json.JSONDecodeError as error:
        raise NotebookError(
            f"not a notebook: the file is no JSON (line {error.lineno}); was it cut off, or another file renamed?"
        ) from None
    except ValueError:
        raise NotebookError("not a notebook: a number in its JSON is too long") from None
    if not isinstance(notebook, dict):
        raise NotebookError("not a notebook: its JSON is not an object with cells")
    return notebook


def _check_format(notebook: dict) -> None:
    version = notebook.get("nbformat")
    if type(version) is not int:
        raise NotebookError("not a notebook: the JSON names no nbformat version")
    if version < 4:
        raise NotebookError(
            f"old format: nbformat {version}; open it in JupyterLab and save it, or run "
            "`jupyter nbconvert --to notebook --inplace` on it"
        )
    if version > 4:
        raise NotebookError(f"unknown format: nbformat {str(version)[:20]}; save it in version 4")
    cells = notebook.get("cells")
    if not isinstance(cells, list):
        raise NotebookError("damaged notebook: it has no list of cells")
    if not cells:
        raise NotebookError("no cells: the notebook is empty; was the right file handed in?")
    if len(cells) > MOST_CELLS:
        raise NotebookError(f"too many cells: {len(cells)}, at most {MOST_CELLS} are read")


def _check_language(metadata) -> None:
    """Refuse a notebook that says it is not Python; one that says nothing is taken for Python."""
    for key, name in (("kernelspec", "language"), ("language_info", "name"), ("kernelspec", "name")):
        section = metadata.get(key) if isinstance(metadata, dict) else None
        value = section.get(name) if isinstance(section, dict) else None
        if not isinstance(value, str) or not value:
            continue
        if (key, name) == ("kernelspec", "name"):
            value = "R" if value == "ir" else "Julia" if value.startswith("julia") else "python"
        if not value.lower().startswith(("python", "ipython")):
            shown = value[:40].encode("ascii", "replace").decode()
            raise NotebookError(
                f"wrong kernel: the notebook is for {shown}; choose a Python 3 kernel and save"
            )


def _joined(source) -> str | None:
    """Source as one string, or None if it is neither a string nor a list of them."""
    if isinstance(source, list) and all(isinstance(line, str) for line in source):
        source = "".join(source)
    if not isinstance(source, str):
        return None
    source = source.encode("utf-8", "replace").decode("utf-8")  # lone surrogates
    return source.replace("\r\n", "\n").replace("\r", "\n")


def _grade_id(item: dict) -> str | None:
    metadata = item.get("metadata")
    flags = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    name = flags.get("grade_id") if isinstance(flags, dict) else None
    return name if isinstance(name, str) else None


def _pictures(item: dict) -> tuple[str, ...]:
    attached = item.get("attachments")
    return tuple(_joined(name)[:100] for name in attached) if isinstance(attached, dict) else ()


def plan(cells: list[Cell], problem: Problem) -> Plan:
    """Decide which cells of a submission run, and collect its written answers."""
    result = Plan(list(problem.setup), [-1] * len(problem.setup))
    locked = {_plain(source) for source in problem.locked.values()}
    stubs = {_plain(source): name for name, source in problem.stubs.items()}
    functions = {task.function for task in problem.tasks.values() if task.function}
    for cell in cells:
        if cell.kind != "code":
            continue
        text = _plain(cell.source)
        if text in stubs:
            result.untouched.add(stubs[text])
        elif text and text not in locked and not _is_locked_copy(cell, problem, functions):
            result.cells.append(cell.source)
            result.places.append(cell.place)
    result.answers = _answers(cells, problem)
    return result


def _plain(source: str) -> str:
    return " ".join(source.split())


def _is_locked_copy(cell: Cell, problem: Problem, functions: set[str]) -> bool:
    """Whether a cell is a locked one, changed or not, that defines nothing of its own."""
    released = problem.locked.get(cell.grade_id or "")
    if released is None:
        return False
    defined = set(_DEFINITION.findall(cell.source)) - set(_DEFINITION.findall(released))
    assigned = functions & set(_ASSIGNMENT.findall(cell.source))
    return released not in problem.setup and not defined and not assigned


def defined_names(sources: list[str]) -> list[str]:
    """Names that look as if the sources define them, for a hint to a learner; sorted."""
    names = set()
    for source in sources:
        names.update(_DEFINITION.findall(source), _ASSIGNMENT.findall(source))
    return sorted(name for name in names if len(name) <= LONGEST_NAME)[:MOST_NAMES]


@cache
def _released(problem: Problem) -> tuple[dict[str, str], dict[str, str], dict[str, str]]:
    """Of the learner's notebook: names of known cells by text, text by name, and the answer after each cell."""
    cells = release.learner_notebook(problem.notebook).cells
    named = [(cell.metadata.get("nbgrader", {}).get("grade_id"), _plain(cell.source)) for cell in cells]
    answers = {task.id for task in problem.tasks.values() if task.kind == "answer"}
    by_name = {name: text for name, text in named if name}
    by_text = {text: name for name, text in named if name and name not in answers}
    after = {
        before: name for (before, _), (name, _) in itertools.pairwise(named) if name in answers and before
    }
    return by_text, by_name, after


def _answers(cells: list[Cell], problem: Problem) -> dict[str, str]:
    """Text of every answer that is more than the stub, by task."""
    by_text, by_name, after = _released(problem)
    stubs = {task.id: problem.stubs[task.id] for task in problem.tasks.values() if task.kind == "answer"}
    marked = {cell.grade_id for cell in cells if cell.kind == "markdown"} & set(stubs)
    parts, seen, current = {name: [] for name in stubs}, set(), None
    for cell in cells:
        name = by_text.get(_plain(cell.source))
        if (
            name is None
            and cell.grade_id in by_name
            and (cell.grade_id in stubs or cell.grade_id not in seen)
        ):
            name = cell.grade_id
        if name in stubs and cell.kind == "markdown":
            current = name
        elif (
            name is not None
        ):  # a known cell ends an answer; without its mark the answer follows the question
            seen.add(name)
            current = after.get(name) if after.get(name) not in marked else None
            continue
        if current and cell.kind == "markdown":
            parts[current].append(_answer_text(cell, stubs[current]))
    texts = {name: "\n\n".join(filter(None, part)).strip() for name, part in parts.items()}
    return {name: _cut(text) for name, text in texts.items() if text}


def _answer_text(cell: Cell, stub: str) -> str:
    text = "\n".join(line for line in cell.source.split("\n") if line.strip() != stub.strip()).strip()
    pictures = "\n".join(f"[picture in the notebook: {name}]" for name in cell.pictures)
    return "\n\n".join(filter(None, (text, pictures)))


def _cut(text: str) -> str:
    return text if len(text) <= MOST_ANSWER else f"{text[:MOST_ANSWER]}\n[cut after {MOST_ANSWER} characters]"
