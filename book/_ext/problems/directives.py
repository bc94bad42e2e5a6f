"""The directives: a problem, a set of them, and tables of them."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import quote

import yaml
from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.environment import BuildEnvironment
from sphinx.util.docutils import SphinxDirective

from .sheet import Sheet

BOX = ":" * 9  # a fence that none of the notebooks' own can close


class Problems(SphinxDirective):
    """Common to all: find notebooks, parse Markdown."""

    def sheets(self, folder: str = "*") -> list[Sheet]:
        """The problems of a set, or of all sets, the easiest first; the page is rebuilt when they change."""
        from exercises.grading import problem

        self.env.metadata[self.env.docname]["problems"] = fingerprint()
        found = [Sheet(problem.Problem(path)) for path in sources() if folder in ("*", path.parent.name)]
        for sheet in found:
            self.env.note_dependency(str(sheet.problem.path))
            self.env.note_dependency(str(sheet.problem.path.with_suffix(".py")))
        return sorted(found, key=lambda sheet: sheet.rank)

    def parse(self, text: str, source: str) -> list[nodes.Node]:
        """Nodes of MyST Markdown; warnings name ``source``."""
        box = nodes.Element()
        self.state.nested_parse(StringList(text.split("\n"), source=source), self.content_offset, box)
        for node in box.findall(nodes.Element):
            node.source = source
        return box.children

    def inline(self, text: str) -> list[nodes.Node]:
        """Nodes of one line."""
        return self.state.inline_text(text, self.lineno)[0]

    def section(self, title: str, anchor: str) -> nodes.section:
        """An empty section."""
        section = nodes.section("", nodes.title(title, "", *self.inline(title)), ids=[anchor])
        self.set_source_info(section)
        return section

    def run(self):
        try:
            return self.made()
        except (ValueError, OSError) as error:
            raise self.error(f"{self.name}: {error}") from error

    def problem(self, sheet: Sheet) -> nodes.section:
        """Statement, and solution unless the book has none."""
        problem, source = sheet.problem, str(sheet.problem.path)
        outer = self.section(problem.title, problem.slug.replace("_", "-"))
        outer += self.parse(self.card(sheet), source)
        outer += self.parse(sheet.introduction, source)
        pictures = Path(self.env.app.outdir).parent / "problems"
        address = "/" + Path(os.path.relpath(pictures, self.env.srcdir)).as_posix()
        for part in sheet.sections(pictures, address):
            inner = self.section(part.heading, part.anchor)
            inner += self.parse(part.text, source)
            outer += inner
        if self.config.course_solutions:
            inner = self.section("Solution", f"{problem.slug}-solution".replace("_", "-"))
            inner += self.parse(self.solution(sheet), source)
            outer += inner
        return outer

    def card(self, sheet: Sheet) -> str:
        """The numbered exercise: what to know before one begins."""
        facts, notebook = sheet.facts, student(sheet)
        kinds = (("code", "by checks"), ("answer", "by hand"))
        points = ", ".join(f"{sheet.points(kind):g} {how}" for kind, how in kinds if sheet.points(kind))
        address = binder(self.config, notebook)
        online = f", or open [a copy on Binder]({address}), which needs no installation" if address else ""
        return f"""\
{BOX}{{exercise}}
:label: {sheet.label}

**Difficulty:** {sheet.level}. **Time:** {facts["Time"]}. **Points:** {points}.

**You will learn** {facts["You will learn"]}.

**You need** {facts["You need"]}.

**Work in** {{download}}`the notebook </{notebook}>`: `{notebook}` in your copy of the course{online}.
{BOX}"""

    def solution(self, sheet: Sheet) -> str:
        """The toggle with everything that a graded class must not see."""
        notebook = f"exercises/source/{sheet.problem.name}.ipynb"
        return f"""\
{BOX}{{solution}} {sheet.label}
:label: {sheet.label.replace("ex-", "sol-", 1)}
:class: dropdown

{sheet.solution()}

{{download}}`The solution notebook </{notebook}>` has the experiments and their output too.
{BOX}"""


class OneProblem(Problems):
    """``problem``: one problem, named SET/PROBLEM."""

    required_arguments = 1

    def made(self) -> list[nodes.Node]:
        for sheet in self.sheets():
            if sheet.problem.name == self.arguments[0]:
                return [self.problem(sheet)]
        raise ValueError(f"there is no exercises/source/{self.arguments[0]}.ipynb")


class ProblemSet(Problems):
    """``problem-set``: all problems of a folder."""

    required_arguments = 1

    def made(self) -> list[nodes.Node]:
        return [self.problem(sheet) for sheet in self.sheets(self.arguments[0])]


class ProblemList(Problems):
    """``problem-list``: the problems of a folder, each with its tasks on paper beside those in code."""

    required_arguments = 1

    def made(self) -> list[nodes.Node]:
        sheets = self.sheets(self.arguments[0])
        text = "\n".join(map(self.item, sheets))
        parsed = self.parse(text, self.env.doc2path(self.env.docname))
        for item, sheet in zip(parsed[0].children if parsed else (), sheets, strict=True):
            item["ids"].append(sheet.label)  # the same anchor as on the problem's own page
        return parsed

    def item(self, sheet: Sheet) -> str:
        """One problem as an item of a Markdown list."""
        lines = [f"- {link(sheet)} ({{ref}}`{sheet.label}`; {sheet.level}, {sheet.facts['Time']})"]
        for name, kind in (("On paper", "answer"), ("In code", "code")):
            if titles := sheet.titles(kind):
                lines.append(f"  - *{name}:* {'; '.join(titles)}")
        return "\n".join(lines)


class ProblemTable(Problems):
    """``problem-table``: every problem; the body says, by slug, which classical exercises it is."""

    has_content = True

    def made(self) -> list[nodes.Node]:
        known = yaml.safe_load("\n".join(self.content)) or {}
        sheets = self.sheets()
        if unknown := sorted(known.keys() - {sheet.problem.slug for sheet in sheets}):
            raise ValueError(f"there are no problems {unknown}")
        head = ["Problem", "Chapter", "Difficulty, time", "Points", "Classical exercises"]
        place = chapters(self.env)
        sheets.sort(key=lambda sheet: (place.get(sheet.problem.set, len(place)), sheet.rank))
        rows = [head, *(self.row(sheet, known.get(sheet.problem.slug, "")) for sheet in sheets)]
        cells = (("* - " if not column else "  - ") + cell for row in rows for column, cell in enumerate(row))
        table = "\n".join(
            ["```{list-table}", ":header-rows: 1", ":widths: 30 17 17 10 26", "", *cells, "```"]
        )
        return self.parse(table, self.env.doc2path(self.env.docname))

    def row(self, sheet: Sheet, known: str) -> list[str]:
        """The cells of one problem."""
        chapter = f"{{doc}}`/{chapter_of(self.env, sheet.problem.set)}`"
        points = " + ".join(f"{sheet.points(kind):g}" for kind in ("code", "answer"))
        return [link(sheet), chapter, f"{sheet.level}, {sheet.facts['Time']}", points, known]


def link(sheet: Sheet) -> str:
    """The problem's title, linked to its page."""
    return f"{{ref}}`{sheet.problem.title} <{sheet.label}>`"


def student(sheet: Sheet) -> str:
    """The learner's notebook, from the course's folder."""
    return f"exercises/student/{sheet.problem.name}.ipynb"


def binder(config: Config, file: str) -> str | None:
    """Address that opens a file of the course on Binder; None where the book knows no public repository."""
    options = config.html_theme_options
    hub = options.get("launch_buttons", {}).get("binderhub_url")
    if not hub or not options.get("repository_url"):
        return None
    host, owner, name = options["repository_url"].split("//")[1].split("/")
    place = f"gl/{owner}%2F{name}" if "gitlab" in host else f"gh/{owner}/{name}"
    branch = quote(options.get("repository_branch", "main"), safe="")
    return f"{hub}/v2/{place}/{branch}?urlpath=lab/tree/{file}"


def chapters(env: BuildEnvironment) -> dict[str, int]:
    """Place of every chapter in the table of contents, by the name of its file."""
    return {page.split("/")[-1]: place for place, page in enumerate(env.external_site_map)}


def chapter_of(env: BuildEnvironment, folder: str) -> str:
    """The page with the chapter of a set: the first of its name in the table of contents."""
    pages = (page for page in env.external_site_map if page.split("/")[-1] == folder)
    return next(pages, f"book/foundations/{folder}")


def sources() -> list[Path]:
    """All solution notebooks."""
    from exercises import release

    return release.sources()


def fingerprint() -> list[str]:
    """Which problems there are."""
    return [f"{path.parent.name}/{path.stem}" for path in sources()]


def outdated(app: Sphinx, env: BuildEnvironment, added, changed, removed) -> list[str]:
    """Pages with problems, when there are others than at the time they were read."""
    pages = {page: data["problems"] for page, data in env.metadata.items() if "problems" in data}
    now = fingerprint() if pages else []
    return [page for page, then in pages.items() if then != now]
