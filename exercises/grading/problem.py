"""A problem as the grader sees it: tasks and points from its notebook, hidden checks from the module beside it.

``exercises/source/SET/PROBLEM.ipynb`` is the reference solution.  ``exercises/source/SET/PROBLEM.py`` has

    PACKAGES = ("numpy", "torch")          what learners may import
    CPU_SECONDS = 60                       for one notebook
    def checks(rng) -> list[Check]         calls of the learner's functions, drawn from a numpy generator
    RUBRIC = {"answer": (Criterion("what earns the points", 2.0), ...)}    for written answers

A hidden check is only data: the same call goes to the learner's function in the sandbox and to the reference
solution here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from types import ModuleType

import nbformat
import numpy as np
from nbformat import NotebookNode

from exercises import kit, release
from exercises.grading import wire

SETUP = "setup"  # tag of locked code cells that the grader runs, from here and not from the submission
_PART_OF_DIGEST = (
    *("compare.py", "grade.py", "inside.py", "limits.py", "mounts.py", "notebook.py", "problem.py"),
    *("reports.py", "sandbox.py", "seccomp.py", "talk.py", "wire.py", "../kit.py"),
)


@dataclass(frozen=True)
class Check:
    """A hidden check: call the function of ``task`` and compare with what the reference solution returns.

    ``repeat`` calls it so often on the same objects and compares the last result: it finds functions that
    change their arguments.  ``advice`` is shown to a learner whose answer is wrong; it is public.
    """

    task: str
    arguments: tuple = ()
    keywords: Mapping = field(default_factory=dict)
    tolerance: float = kit.TOLERANCE
    advice: str = ""
    repeat: int = 1


@dataclass(frozen=True)
class Criterion:
    """One line of a rubric and what it is worth."""

    text: str
    points: float


@dataclass(frozen=True)
class Task:
    """A cell to fill in: ``id`` is its grade_id; ``kind`` "code" or "answer"; ``function`` None for answers."""

    id: str
    title: str
    points: float
    kind: str
    function: str | None


@dataclass(frozen=True)
class Problem:
    """Everything the grader needs to know of one problem."""

    path: Path

    @property
    def set(self) -> str:
        """The chapter it belongs to."""
        return self.path.parent.name

    @property
    def slug(self) -> str:
        """The name of its notebook without the ending: unique over all sets."""
        return self.path.stem

    @property
    def name(self) -> str:
        """SET/PROBLEM."""
        return f"{self.set}/{self.slug}"

    @cached_property
    def notebook(self) -> NotebookNode:
        """The reference solution."""
        return nbformat.read(self.path, as_version=4)

    @cached_property
    def module(self) -> ModuleType:
        """The hidden side."""
        spec = importlib.util.spec_from_file_location(f"hidden_{self.slug}", self.path.with_suffix(".py"))
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return module

    @property
    def packages(self) -> tuple[str, ...]:
        """Distributions that the sandbox mounts."""
        return tuple(self.module.PACKAGES)

    @property
    def cpu_seconds(self) -> float:
        """CPU time for one notebook, all its cells and checks together."""
        return float(self.module.CPU_SECONDS)

    @property
    def rubric(self) -> dict[str, tuple[Criterion, ...]]:
        """Criteria of every written answer, by task."""
        return dict(getattr(self.module, "RUBRIC", {}))

    @property
    def title(self) -> str:
        """Heading of the notebook."""
        return re.search(r"^# (.+)$", self.notebook.cells[0].source, re.MULTILINE).group(1)

    @cached_property
    def tasks(self) -> dict[str, Task]:
        """Cells to fill in, in the order of the notebook."""
        points = {name: flags["points"] for name, flags, _ in self._cells() if flags["grade"]}
        tasks, title = {}, self.title
        for cell in self.notebook.cells:
            heading = (
                re.search(r"^## (.+)$", cell.source, re.MULTILINE) if cell.cell_type == "markdown" else None
            )
            title = heading.group(1) if heading else title
            flags = cell.metadata.get("nbgrader", {})
            if flags.get("solution"):
                name, code = flags["grade_id"], cell.cell_type == "code"
                worth = float(points[f"check-{name}" if code else name])
                function = name.replace("-", "_") if code else None
                tasks[name] = Task(name, title, worth, "code" if code else "answer", function)
        return tasks

    @property
    def max_score(self) -> float:
        """All points, those by hand included."""
        return sum(task.points for task in self.tasks.values())

    @cached_property
    def setup(self) -> tuple[str, ...]:
        """Sources of the cells tagged "setup"."""
        return tuple(cell.source for cell in self._locked_code() if SETUP in cell.metadata.get("tags", []))

    @cached_property
    def locked(self) -> dict[str, str]:
        """Sources of all locked code cells, those tagged "setup" too: a submission's copies never run."""
        return {cell.metadata.nbgrader.grade_id: cell.source for cell in self._locked_code()}

    @cached_property
    def stubs(self) -> dict[str, str]:
        """What a learner finds in the cells to fill in."""
        learner = release.learner_notebook(self.notebook)
        return {
            cell.metadata.nbgrader.grade_id: cell.source
            for cell in learner.cells
            if cell.metadata.get("nbgrader", {}).get("solution")
        }

    @cached_property
    def digest(self) -> str:
        """Changes with the notebook, the hidden checks, the kit and what computes a score."""
        here = Path(__file__).resolve().parent
        files = [self.path, self.path.with_suffix(".py"), *(here / name for name in _PART_OF_DIGEST)]
        joined = b"".join(hashlib.sha256(file.read_bytes()).digest() for file in files)
        return hashlib.sha256(joined).hexdigest()

    def checks(self, seed: int) -> list[Check]:
        """The hidden checks of one run of the grader.

        Raises:
            ValueError: a task without checks, or a check of something that is no task.
        """
        draw = getattr(self.module, "checks", lambda rng: [])
        checks = list(draw(np.random.default_rng([seed, zlib.crc32(self.name.encode())])))
        code = {task.id for task in self.tasks.values() if task.kind == "code"}
        if {check.task for check in checks} != code:
            raise ValueError(
                f"{self.name}: checks for {sorted({c.task for c in checks})}, tasks are {sorted(code)}"
            )
        return checks

    def call(self, check: Check) -> dict:
        """A check as it is sent into the sandbox."""
        function = self.tasks[check.task].function
        return wire.encode_call(function, check.arguments, check.keywords, check.repeat)

    def expected(self, seed: int) -> list[np.ndarray | list]:
        """What the reference solution returns for every check of ``checks(seed)``.

        Raises:
            ValueError: the reference solution fails, or returns something that is not finite.
        """
        namespace = self.reference()
        values = []
        for check in self.checks(seed):
            answer = wire.answer(self.call(check), namespace)
            value = wire.decode_answer(answer["value"]) if "value" in answer else answer
            if not _finite(value):
                raise ValueError(f"{self.name}: the reference solution of {check.task} gave {answer}")
            values.append(value)
        return values

    def reference(self) -> dict:
        """A namespace with the reference solutions; checks and experiments are not run."""
        namespace = {"__name__": "__main__"}
        solved = [
            cell.source for _, flags, cell in self._cells() if flags["solution"] and cell.cell_type == "code"
        ]
        for source in (*self.setup, *solved):
            exec(compile(source, f"<{self.name}>", "exec"), namespace)
        return namespace

    def _cells(self):
        for cell in self.notebook.cells:
            flags = cell.metadata.get("nbgrader")
            if flags:
                yield flags["grade_id"], flags, cell

    def _locked_code(self):
        return [c for _, flags, c in self._cells() if c.cell_type == "code" and flags["locked"]]


def _finite(value) -> bool:
    if isinstance(value, list):
        return bool(value) and all(_finite(item) for item in value)
    return isinstance(value, np.ndarray) and bool(np.isfinite(value).all())


@cache
def all_problems() -> dict[str, Problem]:
    """Every problem by its slug.

    Raises:
        ValueError: two problems of one name.
    """
    problems = {}
    for path in release.sources():
        if path.stem in problems:
            raise ValueError(f"{path.stem}: the names of problems must differ over all sets")
        problems[path.stem] = Problem(path)
    return problems


def load(name: str) -> Problem:
    """The problem called SET/PROBLEM or PROBLEM.

    Raises:
        ValueError: there is none.
    """
    for problem in all_problems().values():
        if name in (problem.name, problem.slug):
            return problem
    raise ValueError(f"problem: expected one of {sorted(all_problems())}, got {name!r}")
