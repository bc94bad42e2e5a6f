"""Run an exercise notebook without a kernel: its code cells by exec, some of them replaced."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import matplotlib
import nbformat
from nbformat import NotebookNode

from exercises import release

matplotlib.use("Agg")

SOURCES = {str(path.relative_to(release.SOURCE).with_suffix("")): path for path in release.sources()}


def read_source(problem: str) -> NotebookNode:
    """The solution notebook of a problem named SET/PROBLEM."""
    return nbformat.read(SOURCES[problem], as_version=4)


def read_student(problem: str) -> NotebookNode:
    """The learner's notebook as it lies in the repository."""
    return nbformat.read(release.student_path(SOURCES[problem]), as_version=4)


def grade_id(cell: NotebookNode) -> str | None:
    """nbgrader's name of a cell, or None."""
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def code_of(notebook: NotebookNode) -> dict[str, str]:
    """Name and source of every code cell in order; cells without a grade_id go by their cell id."""
    return {grade_id(cell) or cell.id: cell.source for cell in notebook.cells if cell.cell_type == "code"}


def solutions(notebook: NotebookNode) -> dict[str, str]:
    """Name and source of the code cells that the learner fills in."""
    return {
        grade_id(cell): cell.source
        for cell in notebook.cells
        if cell.cell_type == "code" and cell.metadata.get("nbgrader", {}).get("solution")
    }


def execute(
    notebook: NotebookNode, replaced: Mapping[str, str | Callable] | None = None, until: str | None = None
) -> dict[str, Exception | None]:
    """Execute the code cells in one namespace, as far as ``until``; go on after an exception, as graders do.

    replaced: for some cells, by name, other code, or the function that the cell should have defined
        (the cell ``ntk-matrix`` defines ``ntk_matrix``).

    Returns what each cell raised, or None.
    """
    namespace = {"__name__": "__main__"}
    raised = {}
    for name, text in (code_of(notebook) | dict(replaced or {})).items():
        try:
            if callable(text):
                namespace[name.replace("-", "_")] = text
            else:
                exec(compile(text, f"<{name}>", "exec"), namespace)
            raised[name] = None
        except Exception as error:
            raised[name] = error
        if name == until:
            break
    return raised
