"""Submissions for tests: notebooks as bytes, and the solved problem definition/ntk_matrix cell by cell."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping

from exercises import release
from exercises.grading.problem import load

NTK = load("ntk_matrix")
SOLVED = {
    cell.metadata.nbgrader.grade_id: cell.source
    for cell in NTK.notebook.cells
    if cell.metadata.get("nbgrader", {}).get("solution")
}
FUNCTIONS = {name: source for name, source in SOLVED.items() if NTK.tasks[name].kind == "code"}
PYTHON = {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}}

QUICK = """
def rows(model, x):
    parameters = [p for p in model.parameters() if p.requires_grad]
    return torch.stack([
        torch.stack([
            torch.cat([g.flatten() for g in torch.autograd.grad(output, parameters, retain_graph=True)])
            for output in outputs
        ])
        for outputs in model(x).reshape(len(x), -1)
    ])

def ntk_blocks(model, x1, x2):
    return torch.einsum("iap,jbp->ijab", rows(model, x1), rows(model, x2))

def ntk_matrix(model, x):
    return ntk_blocks(model, x, x)

def linear_prediction(model, theta, x):
    change = torch.cat([(new - old).flatten() for new, old in zip(theta, model.parameters())])
    return (model(x) + rows(model, x) @ change).detach()

def descend(model, x, y, steps=200):
    parameters = list(model.parameters())
    for _ in range(steps):
        loss = ((model(x) - y) ** 2).sum() / (2 * len(x))
        with torch.no_grad():
            for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters)):
                parameter -= gradient

def linearization_error(width, seed, activation=torch.tanh):
    start, end = (kit.TwoLayerNet(width, activation=activation, seed=seed) for _ in range(2))
    descend(end, *kit.circle(12))
    x, _ = kit.circle(60, offset=0.5)
    gap = end(x).detach() - torch.as_tensor(linear_prediction(start, list(end.parameters()), x)).detach()
    return gap.square().mean().sqrt()
"""  # everything; without torch.func and torch.optim, which take a second to load


def code(source: str, grade_id: str | None = None, **metadata) -> dict:
    """A code cell as Jupyter stores it."""
    return _cell("code", source, grade_id, metadata) | {"execution_count": None, "outputs": []}


def text(source: str, grade_id: str | None = None, **metadata) -> dict:
    """A Markdown cell."""
    return _cell("markdown", source, grade_id, metadata)


def _cell(kind: str, source: str, grade_id: str | None, metadata: dict) -> dict:
    flags = {"nbgrader": {"grade_id": grade_id, "schema_version": 3}} if grade_id else {}
    return {"cell_type": kind, "metadata": flags | metadata, "source": source.splitlines(keepends=True)}


def notebook(cells: Iterable[dict], /, **changed) -> bytes:
    """A notebook of nbformat 4.5 for Python, unless ``changed`` says otherwise."""
    content = {"cells": list(cells), "metadata": PYTHON, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(content | changed).encode()


def released() -> list[dict]:
    """The cells that learners get."""
    return json.loads(release.student_path(NTK.path).read_bytes())["cells"]


def filled_in(replaced: Mapping[str, str] = SOLVED, *, before: str = "", after: str = "") -> bytes:
    """The learner's notebook with some cells replaced by grade_id, and a code cell before or after all others."""
    cells = []
    for cell in released():
        name = cell["metadata"].get("nbgrader", {}).get("grade_id")
        cells.append(cell | {"source": replaced[name]} if name in replaced else cell)
    return notebook([code(before)] * bool(before) + cells + [code(after)] * bool(after))
