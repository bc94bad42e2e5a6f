"""Derive the learners' notebooks from the solutions: ``python -m exercises.release [--run | --check] [PROBLEM ...]``.

``exercises/source/SET/PROBLEM.ipynb`` is edited; ``exercises/student/SET/PROBLEM.ipynb`` is derived from it.
The source follows nbgrader (cell metadata of schema 3, BEGIN/END SOLUTION marks), and the derived notebook holds
the cells that ``nbgrader generate_assignment`` gives, so either tool may release a problem.  Hidden checks are in
``exercises/source/SET/PROBLEM.py`` and never in a notebook: a grader that runs them beside a learner's code would
show them to it.
"""

from __future__ import annotations

import argparse
import base64
import re
import sys
from pathlib import Path

import nbformat
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parent
SOURCE = ROOT / "source"
STUDENT = ROOT / "student"

STUBS = {"code": "# YOUR CODE HERE\nraise NotImplementedError()", "markdown": "YOUR ANSWER HERE"}
TARGET = "target.png"
SETUP = "setup"  # tag of locked code cells that the grader runs from its own copy
_FLAGS = {
    "grade": bool,
    "solution": bool,
    "locked": bool,
    "task": bool,
    "grade_id": str,
    "schema_version": int,
}
_MISPLACED = {
    "HIDDEN TESTS": "hidden checks do not belong into a notebook but into the function checks(rng) of the module "
    "beside it (exercises/source/SET/PROBLEM.py)",
    "": "a mark that does not belong into this kind of cell",
}


def sources() -> list[Path]:
    """All source notebooks, sorted."""
    return sorted(path for path in SOURCE.glob("*/*.ipynb"))


def student_path(source: Path) -> Path:
    """Where the notebook derived from ``source`` lies."""
    return STUDENT / source.relative_to(SOURCE)


def learner_notebook(source: NotebookNode) -> NotebookNode:
    """The learner's notebook: stubs for solutions, no outputs; ``source`` is left alone.

    Raises:
        ValueError: metadata, marks or cells that are wrong, with the cell they are in.
    """
    check_metadata(source)
    check_tasks(source)
    notebook = nbformat.from_dict(source)
    for cell in notebook.cells:
        flags = cell.metadata.get("nbgrader", {})
        if flags.get("solution"):
            cell.source = without_solution(cell.source, STUBS[cell.cell_type], cell.id)
        if mark := re.search(r"### (?:BEGIN|END) (.*)", cell.source):
            raise ValueError(f"cell {cell.id}: {_MISPLACED.get(mark[1].strip(), _MISPLACED[''])}")
        if flags.get("locked"):
            cell.metadata.update(editable=False)
        if flags.get("locked") or flags.get("solution"):
            cell.metadata.update(deletable=False)
        if cell.cell_type == "code":
            cell.outputs = []
            cell.execution_count = None
            cell.metadata.pop("execution", None)
    nbformat.validate(notebook)
    return notebook


def without_solution(text: str, stub: str, where: str) -> str:
    """Replace every marked solution by ``stub`` at the mark's indentation; without marks, the whole cell."""
    begin, end = "### BEGIN SOLUTION", "### END SOLUTION"
    kept, inside, found = [], False, False
    for line in text.split("\n"):
        if begin in line or end in line:
            if (begin in line) == inside:
                raise ValueError(f"cell {where}: unbalanced '{line.strip()}'")
            inside, found = not inside, True
            if inside:
                indent = re.match(r"\s*", line).group()
                kept += [indent + line for line in stub.split("\n")]
        elif not inside:
            kept.append(line)
    if inside:
        raise ValueError(f"cell {where}: '{begin}' without '{end}'")
    return "\n".join(kept) if found else stub


def check_metadata(notebook: NotebookNode) -> None:
    """Raise ValueError unless every cell that nbgrader would act on has complete metadata of schema 3."""
    seen = set()
    for cell in notebook.cells:
        flags = cell.metadata.get("nbgrader")
        if flags is None:
            continue
        for key, kind in _FLAGS.items():
            if not isinstance(flags.get(key), kind):
                raise ValueError(
                    f"cell {cell.id}: nbgrader.{key} must be {kind.__name__}, got {flags.get(key)!r}"
                )
        if flags["schema_version"] != 3:
            raise ValueError(
                f"cell {cell.id}: nbgrader.schema_version must be 3, got {flags['schema_version']}"
            )
        if flags["grade_id"] in seen:
            raise ValueError(f"cell {cell.id}: the grade_id {flags['grade_id']!r} is used twice")
        if flags["grade"] != ("points" in flags):
            raise ValueError(f"cell {cell.id}: points belong to a cell with grade, and only there")
        seen.add(flags["grade_id"])


def check_tasks(notebook: NotebookNode) -> None:
    """Raise ValueError unless every cell to fill in earns points, and cells tagged "setup" are locked code.

    Points of a function NAME are on the cell of checks ``check-NAME``, those of a written answer on its own cell.
    """
    cells = {
        cell.metadata.nbgrader.grade_id: cell for cell in notebook.cells if cell.metadata.get("nbgrader")
    }
    for name, cell in cells.items():
        flags = cell.metadata.nbgrader
        if flags.solution and cell.cell_type == "code":
            checks = cells.get(f"check-{name}")
            if flags.grade or checks is None or not checks.metadata.nbgrader.grade:
                raise ValueError(f"cell {cell.id}: expected its points on a cell of checks 'check-{name}'")
        elif flags.solution and not flags.grade:
            raise ValueError(f"cell {cell.id}: a written answer needs points")
    for cell in notebook.cells:
        flags = cell.metadata.get("nbgrader", {})
        locked = flags.get("locked") and not flags.get("grade") and not flags.get("solution")
        if SETUP in cell.metadata.get("tags", []) and not (cell.cell_type == "code" and locked):
            raise ValueError(f"cell {cell.id}: the tag '{SETUP}' is for locked code without points")


def show_target(notebook: NotebookNode) -> None:
    """Attach the figure of the code cell tagged ``target-figure`` to the Markdown cell that shows target.png.

    So the learner sees at the start the very figure that the solution draws.
    """
    figures = [
        output.data["image/png"]
        for cell in notebook.cells
        if "target-figure" in cell.metadata.get("tags", [])
        for output in cell.outputs
        if "image/png" in output.get("data", {})
    ]
    places = [
        cell
        for cell in notebook.cells
        if cell.cell_type == "markdown" and f"attachment:{TARGET}" in cell.source
    ]
    if len(figures) != len(places) or len(figures) > 1:
        raise ValueError(f"{len(figures)} target figures for {len(places)} cells that show one")
    for cell, figure in zip(places, figures, strict=True):
        png = base64.b64encode(base64.b64decode(figure)).decode()
        cell.attachments = {TARGET: {"image/png": png}}


def run(notebook: NotebookNode, folder: Path) -> None:
    """Execute every cell in a fresh kernel and keep the outputs."""
    from nbclient import NotebookClient

    options = {"timeout": 120, "record_timing": False, "coalesce_streams": True}
    NotebookClient(notebook, resources={"metadata": {"path": str(folder)}}, **options).execute()


def release(source: Path, execute: bool = False) -> dict[Path, str]:
    """The text each file of one problem should have: the source with its target figure, and the learner's."""
    try:
        notebook = nbformat.read(source, as_version=4)
        if execute:
            run(notebook, source.parent)
        show_target(notebook)
        learner = learner_notebook(notebook)
    except ValueError as error:
        raise ValueError(f"{source.relative_to(ROOT)}: {error}") from None
    return {source: _text(notebook), student_path(source): _text(learner)}


def _text(notebook: NotebookNode) -> str:
    return nbformat.writes(notebook).rstrip("\n") + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m exercises.release", description=__doc__.split("\n")[0])
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--run", action="store_true", help="execute the solutions first and store their outputs"
    )
    mode.add_argument("--check", action="store_true", help="write nothing; status 1 if a file is out of date")
    parser.add_argument("problems", nargs="*", metavar="PROBLEM", help="SET/PROBLEM or PROBLEM; default: all")
    options = parser.parse_args(arguments)

    wanted, status = {}, 0
    for source in selected(options.problems, parser.error):
        try:
            wanted |= release(source, options.run)
        except ValueError as error:
            print(error, file=sys.stderr)
            status = 1
    stale = [path for path, text in wanted.items() if not path.exists() or path.read_text("utf-8") != text]
    for path in stale:
        print(f"{'out of date' if options.check else 'written'}: {path.relative_to(ROOT.parent)}")
        if not options.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(wanted[path], "utf-8")
    orphans = set(STUDENT.glob("*/*.ipynb")) - set(map(student_path, sources()))
    for path in sorted(orphans):
        print(f"without a source: {path.relative_to(ROOT.parent)}")
    return int(bool(status or (options.check and (stale or orphans))))


def selected(names: list[str], error) -> list[Path]:
    """The sources called SET/PROBLEM or PROBLEM, all without names; calls ``error`` where there is none."""
    known = {name: path for path in sources() for name in (path.stem, f"{path.parent.name}/{path.stem}")}
    if unknown := [name for name in names if name not in known]:
        error(f"there is no problem {unknown[0]!r}; there are {', '.join(n for n in known if '/' in n)}")
    return [known[name] for name in names] or sources()


if __name__ == "__main__":
    sys.exit(main())
