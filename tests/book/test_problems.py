"""Problem sets in the book: pages made from the notebooks, and a book without any solution."""

from __future__ import annotations

import ast
import html
import re
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from exercises import release
from exercises.grading import problem as grading

from .conftest import ROOT, build, copy_sources, pages

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from problems import directives, solutions
from problems.sheet import Sheet, split, without_docstring

SHEETS = {slug: Sheet(problem) for slug, problem in grading.all_problems().items()}
SETS = sorted({sheet.problem.set for sheet in SHEETS.values()})
PARTS = ("foundations", "beyond")
CHAPTERS = sorted(path for part in PARTS for path in (ROOT / "book" / part).glob("*.md"))
MARKUP = re.compile(r"^ *(?:#+|-|\d+\.|:\w+:.*) |[$*`_{}\[\]()<>|\\\"'^]+|--|\.\.\.")
NO_OUTPUTS = re.compile(
    r"claims: C\d\d: \S+ gives no number for it in this build|mystnb\.glue|myst-nb\.lexer"
)
STRAIGHT = str.maketrans("‘’“”", "''\"\"")
CLASSICAL = {
    "derive the NTK of a two-layer ReLU network",
    "implement the NTK matrix and test the linearisation",
    "prove that training is kernel regression",
    "eigenvalue distribution and convergence",
    "read Chizat and Bach: NTK against feature learning",
    "change of the NTK over widths on MNIST, and lazy training",
    "prove global convergence",
    "the effect of batch normalisation",
    "implement the NTK of various architectures",
    "compare NTK regression with training",
    "eigenvalues and learning speed",
    "tools that compare finite with infinite width",
    "when networks deviate from the theory",
    "the NTK and the theory of generalisation",
    "the NTK of modern architectures (Transformers)",
}


def learner(sheet: Sheet):
    """The learner's notebook of a problem."""
    return release.learner_notebook(sheet.problem.notebook)


# Markdown of a problem


def test_a_notebook_is_cut_at_its_headings_and_not_at_comments_in_code():
    text = "before\n## One\n```python\n## no heading\n```\n### inner\n## Two\nend"
    assert [piece.split("\n")[0] for piece in split(text)] == ["before", "## One", "## Two"]


def test_docstrings_of_solutions_go_and_those_inside_stay():
    code = 'def f(x):\n    """Say\n    it."""\n    def g():\n        """Inner."""\n        return x\n    return g'
    kept = 'def f(x):\n    def g():\n        """Inner."""\n        return x\n    return g'
    assert without_docstring(code) == kept
    assert without_docstring('def f(x):\n    """All there is."""') == 'def f(x):\n    """All there is."""'


@pytest.mark.parametrize("slug", SHEETS)
def test_hints_become_dropdowns_that_end_where_they_did(slug, tmp_path):
    sheet = SHEETS[slug]
    written = sum(cell.source.count("<details>") for cell in learner(sheet).cells)
    shown = "\n".join(part.text for part in sheet.sections(tmp_path, "/pictures"))
    assert shown.count("{dropdown}") == written >= 3
    assert "<details" not in shown
    assert "</details" not in shown


@pytest.mark.parametrize(
    ("repository", "address"),
    [
        (
            "https://github.com/some/course",
            "https://hub/v2/gh/some/course/my%2Fbranch?urlpath=lab/tree/a/b.ipynb",
        ),
        (
            "https://gitlab.com/some/course",
            "https://hub/v2/gl/some%2Fcourse/my%2Fbranch?urlpath=lab/tree/a/b.ipynb",
        ),
        (None, None),
    ],
)
def test_binder_opens_the_notebook_where_the_repository_is_known(repository, address):
    options = {"repository_url": repository, "repository_branch": "my/branch"}
    options |= {"launch_buttons": {"binderhub_url": "https://hub"}} if repository else {}
    assert directives.binder(SimpleNamespace(html_theme_options=options), "a/b.ipynb") == address


# Leaving solutions out


CELL = "```{code-cell} ipython3\n:tags: [hide-input]\nSECRET\n```"


@pytest.mark.parametrize(
    "solution",
    [
        "```{solution} ex-a\n:class: dropdown\nSECRET\n```",
        ":::{solution} ex-a\nSECRET\n```python\nSECRET\n```\nSECRET\n:::",
        "::::{solution} ex-a\n:::{note}\nSECRET\n:::\nSECRET\n::::",
        f"```{{solution}} ex-a\nSECRET\n```\n\n{CELL}\n{CELL}",
        f"```{{solution-start}} ex-a\n```\nSECRET\n{CELL}\n```{{solution-end}}\n```\n{CELL}",
    ],
    ids=["backticks", "code", "nested", "cells", "gated"],
)
def test_a_solution_and_its_cells_are_cut_and_nothing_else(solution):
    before = "# Title\n\n:::{exercise}\n:label: ex-a\nStatement.\n:::\n\n"
    after = "\n:::{exercise}\n:label: ex-b\nAnother.\n:::\n\n```{code-cell}\nstart = 1\n```\n"
    left = solutions.without_solutions(f"{before}{solution}\n{after}")
    assert [line for line in left.split("\n") if line] == [
        line for line in (before + after).split("\n") if line
    ]


def test_cells_after_other_text_stay():
    text = ":::{solution} ex-a\nSECRET\n:::\n\nMore of the chapter.\n\n```{code-cell}\nkept = 1\n```\n"
    assert "kept = 1" in solutions.without_solutions(text)


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_loses_all_solutions_and_keeps_all_exercises(chapter):
    text = chapter.read_text("utf-8")
    left = solutions.without_solutions(text)
    assert "{solution" in text
    assert "{solution" not in left
    assert left.count("{exercise}") == text.count("{exercise}")
    assert set(left.split("\n")) <= set(text.split("\n"))


@pytest.mark.parametrize("chapter", CHAPTERS, ids=lambda path: path.stem)
def test_cells_that_stay_need_nothing_from_solutions(chapter):
    text = chapter.read_text("utf-8")
    cut = solutions.solutions(text)
    known, lost = set(), set()
    for token in solutions.blocks(text):
        if token.info.startswith("{code-cell}"):
            defined, used = names(token.content)
            if any(start <= token.map[0] < end for start, end in cut):
                lost |= defined
                assert "glue" not in used
            else:
                assert not used & (lost - known)
                known |= defined


def names(cell: str) -> tuple[set[str], set[str]]:
    """Names that a cell binds and names that it reads."""
    code = re.sub(r"^(---\n.*?\n---|(:\S+:.*\n)+|[%!].*)$", "", cell, flags=re.MULTILINE)
    code = "\n".join(line for line in code.split("\n") if not re.match(r":[\w-]+:", line))
    tree = ast.parse(code)
    nodes = list(ast.walk(tree))
    bound = {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)}
    bound |= {(node.asname or node.name).split(".")[0] for node in nodes if isinstance(node, ast.alias)}
    bound |= {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    return bound, {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Load)}


# The book, built with and then without solutions (its cells are not executed)

SHORT = "\n  - file: ".join(
    [
        "format: jb-book\nroot: book/problems/index\nchapters:",
        *(f"book/problems/{name}" for name in SETS),
        "book/foundations/definition",
    ]
)


@pytest.fixture(scope="module")
def books(tmp_path_factory):
    """Files and logs of two books in one place: problems and a chapter with solutions, then the whole without."""
    root = copy_sources(tmp_path_factory.mktemp("graded"))
    if (ROOT / "node_modules").is_dir():
        (root / "node_modules").symlink_to(ROOT / "node_modules")
    config, toc = root / "_config.yml", root / "_toc.yml"
    text = config.read_text().replace("execute_notebooks: cache", 'execute_notebooks: "off"')
    made = {}
    for setting, contents in (("true", SHORT), ("false", toc.read_text())):
        config.write_text(text.replace("course_solutions: true", f"course_solutions: {setting}"))
        toc.write_text(contents)
        log, seconds = build(root)
        made[setting] = SimpleNamespace(log=log, seconds=seconds, files=texts(root / "_build" / "html"))
    return made


def texts(folder: Path) -> dict[str, str]:
    """Path and text of every file that may hold words; of pages, what a reader sees."""
    found = {}
    for path in folder.rglob("*"):
        if path.suffix in (".html", ".md", ".ipynb", ".js", ".txt", ".inv") and "_static" not in path.parts:
            text = path.read_bytes().decode("utf-8", errors="replace")
            name = path.relative_to(folder).as_posix()
            found[name] = plain(text) if path.suffix == ".html" else re.sub(r"\\n|\s+", " ", text)
    return found


def plain(page: str) -> str:
    """A page without tags and with straight quotes."""
    text = html.unescape(re.sub(r"<[^>]+>", "", page)).translate(STRAIGHT)
    return " ".join(text.split())


def fragments(markdown: str) -> set[str]:
    """Pieces of Markdown that come through any markup unchanged, long enough to tell something."""
    pieces = (" ".join(piece.split()) for line in markdown.split("\n") for piece in MARKUP.split(line))
    return {piece for piece in pieces if len(piece) > 24}


def secrets(chapters: list[Path]) -> set[str]:
    """What nothing in the book but solutions says: those of the problems, and of some chapters."""
    others = ("references.bib", "reference/claims.yml")
    told, kept = set(), [re.sub("[{}]", "", (ROOT / "book" / name).read_text("utf-8")) for name in others]
    for path in (ROOT / "book").rglob("*.md"):
        text = path.read_text("utf-8")
        lines = text.split("\n")
        kept.append(solutions.without_solutions(text))
        for start, end in solutions.solutions(text) if path in chapters else ():
            if not lines[start].startswith("```{code-cell}"):
                told |= fragments("\n".join(lines[start + 1 : end]))
    for sheet in SHEETS.values():
        kept += [cell.source for cell in learner(sheet).cells]
        told |= fragments(sheet.solution())
    shown = " ".join(" ".join(kept).split()).lower()
    return {piece for piece in told if piece.lower() not in shown}


def test_book_with_solutions_tells_every_one_of_them(books):
    everything = " ".join(text for name, text in books["true"].files.items() if name.endswith(".html"))
    told = secrets([ROOT / "book" / "foundations" / "definition.md"])
    assert len(told) > 300
    assert {piece for piece in told if piece not in everything} == set()
    offered = [Path(name).name for name in books["true"].files if name.startswith("_downloads/")]
    assert sorted(offered) == sorted(2 * [f"{slug}.ipynb" for slug in SHEETS])
    assert any("BEGIN SOLUTION" in text for text in books["true"].files.values())


def test_book_without_solutions_has_no_trace_of_one(books):
    told = secrets(CHAPTERS)
    for name, text in books["false"].files.items():
        assert {piece for piece in told if piece in text} == set(), name
        assert "BEGIN SOLUTION" not in text, name
        assert "Solution to" not in text, name
    offered = [Path(name).name for name in books["false"].files if name.startswith("_downloads/")]
    assert sorted(offered) == sorted(f"{slug}.ipynb" for slug in SHEETS)


def test_book_without_solutions_has_all_pages_and_no_warning(books, record_property):
    book = books["false"]
    assert {f"{page}.html" for page in pages()} <= book.files.keys()
    warnings = [line for line in book.log.split("\n") if "WARNING" in line or "ERROR" in line]
    assert [line for line in warnings if not NO_OUTPUTS.search(line)] == []
    record_property("measured book without solutions, nothing executed", f"{book.seconds:.0f} s")


def test_a_solution_that_cannot_be_cut_out_is_a_warning(tmp_path):
    root = copy_sources(
        tmp_path, ["_config.yml", "book/_ext", "book/assets", "package", "requirements", "constraints"]
    )
    (root / "ntklab").mkdir()
    (root / "book" / "references.bib").touch()
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/index\n")
    nested = (
        "# A\n\n:::{exercise}\n:label: ex-a\nWhy?\n:::\n\n- item\n\n  :::{solution} ex-a\n  Because.\n  :::\n"
    )
    (root / "book" / "index.md").write_text(nested)
    config = root / "_config.yml"
    config.write_text(config.read_text().replace("course_solutions: true", "course_solutions: false"))
    log, _ = build(root)
    assert "a solution must not be inside another block" in log


@pytest.mark.parametrize("slug", SHEETS)
def test_page_shows_the_whole_problem(books, slug):
    sheet = SHEETS[slug]
    page = books["true"].files[f"book/problems/{sheet.problem.set}.html"]
    cells = [cell for cell in learner(sheet).cells if cell.cell_type == "markdown"]
    stated = set().union(
        *(fragments(re.sub(r"!\[.*?\]|^\|.*$", "", cell.source, flags=re.M)) for cell in cells)
    )
    assert len(stated) > 10
    assert {piece for piece in stated if piece not in page} == set()
    for task in sheet.problem.tasks.values():
        assert plain(task.title.split("$")[0]).strip() in page


def test_chapter_and_table_name_every_problem_of_the_set(books):
    table = books["false"].files["book/problems/index.html"]
    for sheet in SHEETS.values():
        (name,) = (path for path in CHAPTERS if path.stem == sheet.problem.set)
        chapter = books["false"].files[f"{name.relative_to(ROOT).with_suffix('.html').as_posix()}"]
        for page in (table, chapter):
            assert sheet.problem.title.split("$")[0] in page, sheet.problem.name
        for kind in ("code", "answer"):
            assert all(title.split("$")[0].strip() in chapter for title in sheet.titles(kind))


def test_every_classical_exercise_is_in_the_table():
    text = (ROOT / "book" / "problems" / "index.md").read_text("utf-8")
    body = yaml.safe_load(re.search(r"\{problem-table\}\n(.*?)```", text, re.DOTALL)[1])
    assert {phrase.strip() for phrases in body.values() for phrase in phrases.split(";")} == CLASSICAL
