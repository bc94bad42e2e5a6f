"""Two directives that ask the reader: ``quiz`` gives feedback, ``predict`` keeps a guess and gives a hint.

A quiz: the first paragraph is the question, further paragraphs go below it.  Every option is a list item
that starts with ``[x]`` (right) or ``[ ]`` (wrong); a line that starts with ``=>`` begins its feedback, which
is required.  With several right options the reader ticks boxes, with one the reader chooses it::

    ```{quiz}
    How does the fluctuation of $\\Theta$ fall with the width $m$?

    - [x] As $m^{-1/2}$
      => It is an average of $m$ terms, so its standard deviation falls like that.
    - [ ] As $m^{-1}$
      => That is its *variance*.
    ```

A prediction: plain list items are the choices; without a list the reader writes, a number where
``:answer: number`` is given (``:unit:`` is shown beside it), else text.  ``=>`` at the start of a line begins
what is shown once the reader has committed to an answer::

    ```{predict}
    You double the width. What happens to the movement of a single weight?

    - It halves
    - It falls by $\\sqrt 2$
    - It stays

    => In the next figure, look at the slope on logarithmic axes.
    ```

    ```{predict}
    :answer: number
    :unit: steps
    How long until the loss has halved?

    => Compare your number with the dashed line.
    ```

All texts are MyST: mathematics, roles, several paragraphs.  Without JavaScript the answers are behind a
native disclosure; in print they follow the question.  Nothing is kept beyond the page, nothing is sent.
"""

from __future__ import annotations

import re
from html import escape
from pathlib import Path

from docutils import nodes
from docutils.parsers.rst import directives
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

STATIC = Path(__file__).parent / "quiz_static"
ITEM = re.compile(r"^- (?:\[(?P<mark>[ xX])\] )?(?=\S)")
THEN = re.compile(r"^(?P<indent> *)=>(?: |$)")


class ask(nodes.General, nodes.Element):
    """A question with its answers; attributes ``kind``, ``input`` and ``number``."""


class ask_question(nodes.Part, nodes.TextElement):
    """The question's first paragraph: the legend."""


class ask_option(nodes.Part, nodes.TextElement):
    """What the reader may choose; attributes ``number``, ``index`` and ``input``."""


class ask_entry(nodes.Part, nodes.Element):
    """A field to write into; attributes ``input`` and ``unit``."""


class ask_answers(nodes.Part, nodes.Element):
    """What is shown afterwards, in one disclosure; attribute ``summary``."""


class ask_answer(nodes.Part, nodes.Element):
    """Feedback on the option ``index``, ``right`` or not, or the only text of a prediction."""


class Ask(SphinxDirective):
    """Common to both: cut the lines into question, items and what follows ``=>``."""

    has_content = True

    def cut(self):
        """``(question, [(mark, option, feedback)], reveal)``, each text a list of (line, offset)."""
        question, items, reveal = [], [], []
        into = question
        for offset, line in enumerate(self.content):
            item, then = ITEM.match(line), THEN.match(line)
            if item and into is not reveal:
                items.append((item["mark"], [], []))
                into = items[-1][1]
                line = line[item.end() :]
            elif then and items and then["indent"]:
                into = items[-1][2]
                line = line[then.end() :]
            elif then and into is not reveal:
                into = reveal
                line = line[then.end() :]
            elif items and into is not reveal:
                if line.strip() and not line.startswith("  "):
                    raise self.error(f"{self.name}: indent what belongs to an option by two spaces: {line!r}")
                line = line[2:]
            into.append((line, offset))
        return question, items, reveal

    def parse(self, lines, node):
        """MyST in ``lines`` as children of ``node``."""
        source = self.content.source(0)
        block = StringList([line for line, _ in lines], items=[(source, offset) for _, offset in lines])
        self.state.nested_parse(block, self.content_offset + (lines[0][1] if lines else 0), node)
        return node

    def line_of(self, lines, node, what: str):
        """The children of the only paragraph in ``lines``, moved into ``node``."""
        blocks = self.parse(lines, nodes.Element()).children
        if len(blocks) != 1 or not isinstance(blocks[0], nodes.paragraph):
            raise self.error(f"{self.name}: {what} must be one paragraph")
        node.extend(blocks[0].children)
        return node

    def start(self, question, kind: str, control: str) -> ask:
        """The outer node with the question in it."""
        blocks = self.parse(question, nodes.Element()).children
        if not blocks or not isinstance(blocks[0], nodes.paragraph):
            raise self.error(f"{self.name}: begin with a paragraph that asks the question")
        outer = ask(kind=kind, input=control, number=self.env.new_serialno("ask"))
        outer += ask_question("", "", *blocks[0].children)
        outer.extend(blocks[1:])
        self.set_source_info(outer)
        return outer

    def choices(self, outer, items, control: str) -> None:
        for index, (_, option, _) in enumerate(items):
            node = ask_option(number=outer["number"], index=index, input=control)
            outer += self.line_of(option, node, f"option {index + 1}")


class Quiz(Ask):
    """``quiz``: options with feedback, at least one of them right."""

    def run(self):
        question, items, reveal = self.cut()
        if reveal or len(items) < 2 or any(mark is None for mark, _, _ in items):
            raise self.error("quiz: give at least two options, each '- [x] ...' or '- [ ] ...'")
        if not all(any(line.strip() for line, _ in feedback) for _, _, feedback in items):
            raise self.error("quiz: every option needs feedback, indented by two spaces: '  => ...'")
        right = [mark != " " for mark, _, _ in items]
        if not any(right):
            raise self.error("quiz: mark at least one right option by '- [x] ...'")
        control = "radio" if sum(right) == 1 else "checkbox"
        outer = self.start(question, "quiz", control)
        self.choices(outer, items, control)
        answers = ask_answers(summary="Answers")
        for index, option in enumerate(outer.findall(ask_option)):
            answer = self.parse(items[index][2], ask_answer(index=index, right=right[index]))
            answers += self.verdict(answer, option)
        outer += answers
        return [outer]

    def verdict(self, answer: ask_answer, option: ask_option) -> ask_answer:
        """Begin the feedback with its option (for print and pages without JavaScript) and its verdict."""
        if not isinstance(answer.children[0], nodes.paragraph):
            answer.insert(0, nodes.paragraph())
        words = "Right." if answer["right"] else "Not so."
        answer.children[0][:0] = [nodes.strong("", words), nodes.Text(" ")]
        echo = (child.deepcopy() for child in option.children)
        answer.insert(0, nodes.paragraph("", "", *echo, classes=["ask-echo"]))
        return answer


class Predict(Ask):
    """``predict``: an answer to commit to, then what to look for."""

    option_spec = {  # noqa: RUF012
        "answer": lambda value: directives.choice(value, ("number", "text")),
        "unit": directives.unchanged,
    }

    def run(self):
        question, items, reveal = self.cut()
        if any(mark is not None or feedback for mark, _, feedback in items) or len(items) == 1:
            raise self.error("predict: give two or more choices '- ...' without marks, or none")
        if items and self.options.keys() & {"answer", "unit"}:
            raise self.error("predict: choices leave nothing to write, drop :answer: and :unit:")
        if not any(line.strip() for line, _ in reveal):
            raise self.error("predict: say what to look for after '=>' at the start of a line")
        control = "radio" if items else self.options.get("answer", "text")
        outer = self.start(question, "predict", control)
        if items:
            self.choices(outer, items, control)
        else:
            outer += ask_entry(input=control, unit=self.options.get("unit", ""))
        outer += ask_answers("", self.parse(reveal, ask_answer()), summary="What to look for")
        return [outer]


def html_ask(self, node):
    self.body.append(f'<div class="ask ask-{node["kind"]}" data-kind="{node["kind"]}"><fieldset>')


def html_ask_end(self, node):
    self.body.append("</div>\n")


def html_question(self, node):
    self.body.append("<legend>")


def html_question_end(self, node):
    self.body.append("</legend>\n")


def html_option(self, node):
    words = "".join(text for text in node.findall(nodes.Text) if not isinstance(text.parent, nodes.math))
    # formulas alone give no accessible name, as their glyphs are drawn by style sheets
    name = "" if re.search(r"\w", words) else f' aria-label="{escape(node.astext())}"'
    self.body.append(
        f'<label><input type="{node["input"]}" name="ask-{node["number"]}" value="{node["index"]}"{name} '
        'autocomplete="off"><span>'
    )


def html_option_end(self, node):
    self.body.append("</span></label>\n")


def html_entry(self, node):
    kind = 'type="number" step="any"' if node["input"] == "number" else 'type="text"'
    unit = f"<span>{escape(node['unit'])}</span>"
    self.body.append(f'<label>Your prediction <input {kind} autocomplete="off"> {unit}</label>\n')


def html_answers(self, node):
    button = "Check" if node["summary"] == "Answers" else "Commit"
    self.body.append(
        f'<button type="button" hidden>{button}</button><div class="ask-result" aria-live="polite"></div>'
        f"</fieldset><details><summary>{node['summary']}</summary>\n"
    )


def html_answers_end(self, node):
    self.body.append("</details>")


def html_answer(self, node):
    option = f' data-option="{node["index"]}" data-right="{int(node["right"])}"' if "index" in node else ""
    self.body.append(f'<div class="ask-answer"{option}>\n')


def html_answer_end(self, node):
    self.body.append("</div>\n")


def nothing(self, node):
    """Print shows the children and adds no more."""


def skip(self, node):
    raise nodes.SkipNode


def print_paragraph(self, node):
    self.visit_paragraph(node)


def print_paragraph_end(self, node):
    self.depart_paragraph(node)


def setup(app: Sphinx) -> dict:
    """Called by Sphinx."""
    block = {name: (nothing, nothing) for name in ("latex", "text")}
    line = {name: (print_paragraph, print_paragraph_end) for name in ("latex", "text")}
    app.add_node(ask, html=(html_ask, html_ask_end), **block)
    app.add_node(ask_question, html=(html_question, html_question_end), **line)
    app.add_node(ask_option, html=(html_option, html_option_end), **line)
    app.add_node(ask_entry, html=(html_entry, nothing), latex=(skip, None), text=(skip, None))
    app.add_node(ask_answers, html=(html_answers, html_answers_end), **block)
    app.add_node(ask_answer, html=(html_answer, html_answer_end), **block)
    app.add_directive("quiz", Quiz)
    app.add_directive("predict", Predict)
    app.connect("builder-inited", lambda app: app.config.html_static_path.append(str(STATIC)))
    app.add_css_file("quiz.css")
    app.add_js_file("quiz.js", loading_method="defer")
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
