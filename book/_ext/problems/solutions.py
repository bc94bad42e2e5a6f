"""A book without solutions, for a class that hands in: ``course_solutions: false``.

Solutions are cut out of the sources before anything is parsed, so they are in no page, notebook, index or
copied source.  A solution is a ``{solution}`` (or what stands between ``{solution-start}`` and
``{solution-end}``) together with the code cells that follow it directly.  Rubrics say what the answers are, so
where the instructor's guide quotes a file with criteria, dots stand for them.
"""

from __future__ import annotations

import shutil
from functools import cache
from pathlib import Path

from docutils import nodes
from markdown_it import MarkdownIt
from mdit_py_plugins.colon_fence import colon_fence_plugin
from mdit_py_plugins.front_matter import front_matter_plugin
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx_exercise.nodes import solution_node, solution_start_node

LOGGER = logging.getLogger(__name__)
STAMP = ".without-solutions"


def without_solutions(text: str) -> str:
    """MyST Markdown without its solutions and the cells that belong to them."""
    lines = text.split("\n")
    for start, end in reversed(solutions(text)):
        lines[start:end] = []
    return "\n".join(lines)


def solutions(text: str) -> list[tuple[int, int]]:
    """Ranges of lines, from and up to, in order."""
    found, gate, after = [], None, False
    for token in blocks(text):
        name = token.info.split(maxsplit=1)[0] if token.info else ""
        if gate is not None:
            if name == "{solution-end}":
                found.append((gate, token.map[1]))
                gate, after = None, True
        elif name == "{solution-start}":
            gate = token.map[0]
        elif name == "{solution}" or (after and name == "{code-cell}"):
            found.append(tuple(token.map))
            after = True
        else:
            after = False
    return found


def blocks(text: str) -> list:
    """The outermost blocks of a page as tokens with their lines."""
    parser = MarkdownIt("commonmark").use(colon_fence_plugin).use(front_matter_plugin)
    return [token for token in parser.parse(text) if token.level == 0 and token.map and token.nesting >= 0]


# Steps of the build


def empty_output(app: Sphinx) -> None:
    """Begin in an empty folder after a build with solutions, whose files would otherwise stay there."""
    stamp = Path(app.outdir, STAMP)
    if app.config.course_solutions:
        stamp.unlink(missing_ok=True)
    elif not stamp.exists():
        shutil.rmtree(app.outdir, ignore_errors=True)
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.touch()


def strip_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Parse a page without its solutions."""
    if not app.config.course_solutions:
        source[0] = without_solutions(source[0])


def warn_of_leftovers(app: Sphinx, doctree: nodes.document) -> None:
    """A solution inside another directive, or in an included file, stands where it cannot be cut out."""
    if not app.config.course_solutions:
        for node in doctree.findall(lambda node: isinstance(node, solution_node | solution_start_node)):
            LOGGER.warning(
                "problems: a solution must not be inside another block", location=node, type="problems"
            )


def hide_criteria(app: Sphinx, doctree: nodes.document) -> None:
    """Put dots for the criteria of rubrics in quoted files."""
    if app.config.course_solutions or not Path(app.srcdir, "exercises").is_dir():
        return
    for block in doctree.findall(nodes.literal_block):
        text = block.astext()
        for criterion in criteria():
            text = text.replace(criterion, "...")
        if text != block.astext():
            block.rawsource = text
            block.children = []
            block += nodes.Text(text)


@cache
def criteria() -> tuple[str, ...]:
    """The texts of all rubrics."""
    from exercises.grading.problem import all_problems

    rubrics = (rubric for problem in all_problems().values() for rubric in problem.rubric.values())
    return tuple(criterion.text for rubric in rubrics for criterion in rubric)


def strip_copies(app: Sphinx, exception: Exception | None) -> None:
    """The copies of the sources that a book offers for download."""
    if not app.config.course_solutions and exception is None:
        for path in Path(app.outdir, "_sources").rglob("*.md*"):
            path.write_text(without_solutions(path.read_text("utf-8")), "utf-8")
