"""What a page shows of a problem: Markdown from its notebook."""

from __future__ import annotations

import ast
import base64
import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from nbformat import NotebookNode

LEVELS = ("basic", "intermediate", "hard", "research")
FACTS = ("Difficulty", "Time", "You will learn", "You need")
FACT = re.compile(r"^\| *\*\*(.+?)\*\* *\| *(.+?) *\|$", re.MULTILINE)
HINT = re.compile(
    r"^(?P<indent> *)<details>\s*<summary>(?P<title>.*?)</summary>(?P<body>.*?)</details>",
    re.DOTALL | re.MULTILINE,
)
ATTACHED = re.compile(r"!\[(?P<alt>[^\]]*)\]\(attachment:(?P<name>[^)\s]+)\)")
MARK = re.compile(r"^[ \t]*### (?:BEGIN|END) SOLUTION *\n?", re.MULTILINE)


@dataclass(frozen=True)
class Section:
    """A heading of the notebook with the Markdown below it; ``anchor`` is an id for the page."""

    heading: str
    anchor: str
    text: str


@dataclass(frozen=True)
class Sheet:
    """The readable side of ``problem``, an ``exercises.grading.problem.Problem``."""

    problem: object

    @cached_property
    def facts(self) -> dict[str, str]:
        """The rows of the table at the notebook's head.

        Raises:
            ValueError: a row of FACTS is missing, or the difficulty is not one of LEVELS.
        """
        found = dict(FACT.findall(self.problem.notebook.cells[0].source))
        if missing := [name for name in FACTS if name not in found]:
            raise ValueError(f"{self.problem.name}: its table has no row {', '.join(missing)}")
        if found["Difficulty"] not in LEVELS:
            raise ValueError(
                f"{self.problem.name}: expected a difficulty of {LEVELS}, got {found['Difficulty']!r}"
            )
        return found

    @property
    def level(self) -> str:
        """One of LEVELS."""
        return self.facts["Difficulty"]

    @property
    def minutes(self) -> float:
        """Time that the problem takes; the first number of a range."""
        found = re.match(r"([\d.]+)(?: to [\d.]+)? (minutes|hours?)\b", self.facts["Time"])
        if not found:
            raise ValueError(
                f"{self.problem.name}: expected a time like '60 minutes', got {self.facts['Time']!r}"
            )
        return float(found[1]) * (1 if found[2] == "minutes" else 60)

    @property
    def rank(self) -> tuple:
        """The easiest and shortest problem comes first."""
        return LEVELS.index(self.level), self.minutes, self.problem.slug

    @property
    def label(self) -> str:
        """Label of the exercise."""
        return f"ex-{self.problem.slug.replace('_', '-')}"

    @property
    def introduction(self) -> str:
        """What the first cell says besides its title and its table."""
        lines = self.problem.notebook.cells[0].source.split("\n")
        return "\n".join(line for line in lines if not line.startswith(("# ", "|"))).strip()

    def points(self, kind: str) -> float:
        """Sum over the tasks of a kind, "code" or "answer"."""
        return sum(task.points for task in self.problem.tasks.values() if task.kind == kind)

    def titles(self, kind: str) -> list[str]:
        """Titles of the tasks of a kind, without "Task 1:"."""
        titles = (task.title for task in self.problem.tasks.values() if task.kind == kind)
        return list(dict.fromkeys(re.sub(r"^Task \d+[^:]*: *", "", title) for title in titles))

    def sections(self, pictures: Path, address: str) -> list[Section]:
        """The statement in its sections; attached pictures are written to ``pictures``, shown from ``address``."""
        found = []
        for cell in self.problem.notebook.cells[1:]:
            if cell.cell_type != "markdown" or cell.metadata.get("nbgrader", {}).get("solution"):
                continue
            text = shown(cell, self.problem.slug, pictures, address)
            for piece in split(text):
                heading = re.match(r"## +(.+)\n?", piece)
                if heading:
                    anchor = f"{self.problem.slug}-{cell.id}".replace("_", "-")
                    anchor += f"-{len(found)}" if any(section.anchor == anchor for section in found) else ""
                    found.append(Section(heading[1], anchor, piece[heading.end() :].strip()))
                elif found:
                    text = f"{found[-1].text}\n\n{piece.strip()}"
                    found[-1] = Section(found[-1].heading, found[-1].anchor, text)
                else:
                    raise ValueError(
                        f"{self.problem.name}: the text before the first '## ' belongs to cell 1"
                    )
        return found

    def solution(self) -> str:
        """Every task's solution: the code, or the model answer with the rubric."""
        parts, title = [], ""
        for cell in self.problem.notebook.cells:
            flags = cell.metadata.get("nbgrader", {})
            if not flags.get("solution"):
                continue
            task = self.problem.tasks[flags["grade_id"]]
            if task.title != title:
                parts.append(f"**{task.title}**")
                title = task.title
            if task.kind == "code":
                parts.append(f"```python\n{without_docstring(MARK.sub('', cell.source)).strip()}\n```")
            else:
                parts.append(MARK.sub("", cell.source).strip())
                parts += self._rubric(task.id)
        return "\n\n".join(parts)

    def _rubric(self, task: str) -> list[str]:
        criteria = self.problem.rubric.get(task, ())
        lines = [f"- {item.text} ({worth(item.points)})" for item in criteria]
        return ["*What earns the points:*", "\n".join(lines)] if lines else []


def shown(cell: NotebookNode, prefix: str, pictures: Path, address: str) -> str:
    """The cell's Markdown with hints as dropdowns and attached pictures as figures."""
    for name, data in cell.get("attachments", {}).items():
        pictures.mkdir(parents=True, exist_ok=True)
        (pictures / f"{prefix}-{name}").write_bytes(base64.b64decode(next(iter(data.values()))))

    def figure(match: re.Match) -> str:
        alt = " ".join(match["alt"].split())
        return f":::{{figure}} {address}/{prefix}-{match['name']}\n:alt: {alt}\n:::"

    def dropdown(match: re.Match) -> str:
        lines = [f"::::::{{dropdown}} {match['title'].strip()}", match["body"].strip(), "::::::"]
        indented = (f"{match['indent']}{line}".rstrip() for line in "\n".join(lines).split("\n"))
        return "\n".join(indented) if match["indent"] else "\n".join(lines)

    return HINT.sub(dropdown, ATTACHED.sub(figure, cell.source))


def split(text: str) -> list[str]:
    """Cut Markdown before every "## " that is not inside a fence."""
    pieces, fence = [[]], ""
    for line in text.split("\n"):
        mark = re.match(r" *(```+|~~~+)", line)
        if mark and not fence:
            fence = mark[1]
        elif mark and mark[1].startswith(fence):
            fence = ""
        if line.startswith("## ") and not fence:
            pieces.append([])
        pieces[-1].append(line)
    return [piece for lines in pieces if (piece := "\n".join(lines)).strip()]


def without_docstring(code: str) -> str:
    """Leave the docstrings of top-level functions and classes out: they repeat the statement."""
    lines = code.split("\n")
    for node in ast.parse(code).body:
        if (
            isinstance(node, ast.FunctionDef | ast.ClassDef)
            and ast.get_docstring(node)
            and len(node.body) > 1
        ):
            text = node.body[0]
            lines[text.lineno - 1 : text.end_lineno] = [None] * (text.end_lineno - text.lineno + 1)
    return "\n".join(line for line in lines if line is not None)


def worth(points: float) -> str:
    """Points in words."""
    return f"{points:g} point{'' if points == 1 else 's'}"
