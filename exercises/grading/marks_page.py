"""The page on which written answers are read and marked: everything beside each other, saved as the CSV file.

The only scripts are ours and, where npm has installed it, MathJax; the page's policy allows no other.  The page
works from disk, without a server: it writes the file where the browser can, and hands it over as a download where
it cannot.  Formulas are set answer by answer, each with a fresh TeX, so that nobody's macros reach another answer.
"""

from __future__ import annotations

import html
import os
import re
import tempfile
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from exercises import release
from exercises.grading import pages
from exercises.grading.problem import Problem

if TYPE_CHECKING:
    from exercises.grading.marks import Mark

LONGEST = 100_000  # characters of one answer

STYLE = """
header { position: sticky; top: 0; z-index: 1; padding: .5rem 0; background: var(--page);
  border-bottom: 1px solid var(--line); }
header label { margin-right: 1rem; }
.tex { max-height: 45rem; overflow: auto; contain: content; }
mjx-container { white-space: normal; }
article { border-top: 1px solid var(--line); padding-top: .5rem; }
.mark { display: flex; flex-wrap: wrap; gap: .3rem .8rem; align-items: baseline; margin: .4rem 0; }
.mark .criterion { flex: 1 1 20rem; }
input, select, button, textarea { font: inherit; color: var(--ink); background: var(--page); padding: .2rem .4rem;
  border: 1px solid var(--soft); border-radius: .2rem; }
input[type=number] { width: 5rem; }
.mark textarea { flex: 1 1 16rem; }
input:invalid { outline: 2px solid var(--bad); }
[hidden] { display: none !important; }
"""

MATHJAX = release.ROOT.parent / "node_modules" / "mathjax" / "es5" / "tex-svg.js"
FORMULAS = """
const plain = math => math.root.walkTree(node => {  // a token may have them
  for (const name of ["href", "style", "class", "id"]) delete node.attributes?.getAllAttributes()[name];
});
window.MathJax = {
  tex: {
    inlineMath: [["$", "$"], ["\\\\(", "\\\\)"]],
    processEscapes: true,
    packages: {"[-]": ["require", "autoload"]},
    maxMacros: 200,
    maxBuffer: 2048,
  },
  svg: {fontCache: "local"},
  options: {
    enableMenu: false,
    renderActions: {plain: [30, document => { for (const math of document.math) plain(math); }, plain]},
  },
  startup: {
    typeset: false,
    ready() {
      MathJax.startup.defaultReady();
      let before = Promise.resolve(), until = 0;
      const hurry = () => { if (performance.now() > until) throw Error("this answer's formulas take too long"); };
      const seen = new IntersectionObserver(entries => {
        for (const entry of entries.filter(entry => entry.isIntersecting)) {
          seen.unobserve(entry.target);
          before = before.then(() => {
            MathJax.startup.getComponents();
            for (const tex of MathJax.startup.document.inputJax) tex.preFilters.add(hurry);
            until = performance.now() + 2000;
            return MathJax.typesetPromise([entry.target]);
          }).catch(console.warn);
        }
      });
      document.querySelectorAll(".tex").forEach(element => seen.observe(element));
    },
  },
};
"""

SCRIPT = """
"use strict";
const NAME = document.body.querySelector("main").dataset.file;
const marks = [...document.querySelectorAll(".mark")];
let saved = true;

const guard = cell => /^[=+\\-@\\t\\r']/.test(cell) ? "'" + cell : cell;
const quote = cell => /[",\\n\\r]/.test(cell) ? '"' + cell.replaceAll('"', '""') + '"' : cell;
const points = mark => mark.querySelector("input[type=number]");
const comment = mark => mark.querySelector("textarea");

function csv() {
  const rows = [["student", "task", "criterion", "max_points", "points", "comment", "submission"]];
  for (const mark of marks) {
    const d = mark.dataset;
    rows.push([d.student, d.task, d.criterion, d.most, points(mark).value, comment(mark).value, d.submission]);
  }
  return rows.map(row => row.map(cell => quote(guard(cell))).join(",") + "\\n").join("");
}

function show() {
  const task = document.getElementById("task").value;
  const open = document.getElementById("open").checked;
  for (const article of document.querySelectorAll("article")) {
    const done = [...article.querySelectorAll(".mark")].every(m => points(m).value !== "") && !article.dataset.changed;
    article.hidden = (task && article.dataset.task !== task) || (open && done && !article.contains(document.activeElement));
  }
}

function count() {
  const left = marks.filter(mark => points(mark).value === "").length;
  document.getElementById("state").textContent =
    `${marks.length - left} of ${marks.length} marks entered${saved ? "" : ", not saved yet"}`;
}

async function save() {
  const wrong = marks.find(mark => !points(mark).checkValidity());
  if (wrong) {
    wrong.closest("article").hidden = false;
    points(wrong).reportValidity();
    return;
  }
  const data = new Blob([csv()], {type: "text/csv"});
  if (window.showSaveFilePicker) {
    try {
      const handle = await window.showSaveFilePicker({suggestedName: NAME});
      const file = await handle.createWritable();
      await file.write(data);
      await file.close();
    } catch (error) {
      if (error.name === "AbortError") return;
      download(data);
    }
  } else {
    download(data);
  }
  saved = true;
  count();
}

function download(data) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(data);
  link.download = NAME;
  link.click();
}

for (const mark of marks) {
  for (const input of mark.querySelectorAll("input, textarea")) {
    input.addEventListener("input", () => {
      mark.dataset.submission = mark.dataset.present;
      saved = false;
      count();
    });
  }
}
document.getElementById("save").addEventListener("click", save);
document.getElementById("task").addEventListener("change", show);
document.getElementById("open").addEventListener("change", show);
window.addEventListener("beforeunload", event => { if (!saved) event.preventDefault(); });
count();
show();
"""


class Page:
    """The page of one problem, written answer by answer: it never holds more than one of them."""

    def __init__(self, path: Path, problem: Problem):
        self.path = path
        self.problem = problem
        self.part = None

    def answer(self, student: str, task: str, answer: str, marks: Iterable[Mark], present: str) -> None:
        """One student's answer to one task, with what was entered so far; ``present`` names the answer."""
        marks = list(marks)
        changed = any(mark.points is not None and mark.submission != present for mark in marks)
        flag = ' data-changed="yes"' if changed else ""
        lines = [
            f'<article data-task="{_exact(task)}"{flag}>',
            f"<h2>{pages.line(student)}: {pages.line(self.problem.tasks[task].title)}</h2>",
            f'<div class="text tex" tabindex="0">{pages.text(answer, LONGEST) or "(nothing)"}</div>',
        ]
        if changed:
            lines.append('<p class="bad">The answer has changed since it was marked.</p>')
        lines += [_mark(mark, present) for mark in marks]
        self._write("\n".join([*lines, "</article>\n"]))

    def finish(self, gone: Iterable[Mark]) -> None:
        """Put the page in place; ``gone`` are marks of students whose submission is not there any more."""
        gone = list(gone)
        if gone:
            self._write("<section><h2>Marks of students whose submission is gone</h2>\n")
            for mark in gone:
                self._write(f'<article data-task="{_exact(mark.task)}"><h3>{pages.line(mark.student)}</h3>\n')
                self._write(f"{_mark(mark, mark.submission)}\n</article>\n")
            self._write("</section>\n")
        self._write(pages.bottom(_scripts()))
        self.part.close()
        os.chmod(self.part.name, 0o644)
        os.replace(self.part.name, self.path)
        self.part = None

    def close(self) -> None:
        """Leave nothing behind if the page was not finished."""
        if self.part is not None:
            self.part.close()
            Path(self.part.name).unlink(missing_ok=True)
            self.part = None

    def _write(self, text: str) -> None:
        if self.part is None:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.part = tempfile.NamedTemporaryFile(
                "w", encoding="utf-8", dir=self.path.parent, prefix=f".{self.path.name}.", delete=False
            )
            self.part.write(self._top())
        self.part.write(text)

    def _top(self) -> str:
        tasks = [self.problem.tasks[task] for task in self.problem.rubric]
        options = "".join(
            f'<option value="{_exact(task.id)}">{pages.line(task.title)}</option>' for task in tasks
        )
        models = "\n".join(
            f"<details><summary>Model answer and rubric: {pages.line(task.title)}</summary>\n"
            f'<div class="text tex" tabindex="0">{pages.text(_model_answer(self.problem, task.id), LONGEST)}</div></details>'
            for task in tasks
        )
        title = f"Marks: {self.problem.title}"
        file = self.path.with_suffix(".csv").name
        return (
            pages.top(title, style=STYLE, scripts=_scripts()).replace(
                "<main>", f'<main data-file="{_exact(file)}">'
            )
            + f"""<header>
<h1>{pages.line(title)}</h1>
<label>Show <select id="task"><option value="">all tasks</option>{options}</select></label>
<label><input type="checkbox" id="open"> only what is not marked</label>
<button id="save" type="button">Save {pages.line(file)}</button>
<p id="state" role="status"></p>
</header>
<p>Type points and comments, then save the file over <code>marks/{pages.line(file)}</code> and run the grader again.</p>
{models}
"""
        )


@cache
def _scripts() -> tuple[str, ...]:
    """Ours, and MathJax if it is there."""
    if not MATHJAX.is_file():
        return (SCRIPT,)
    # inside a page "<!--" and "</script" mean something else than in a file; in a literal "\\" changes nothing
    mathjax = re.sub(r"<(!--|/script)", r"<\\\1", MATHJAX.read_text("utf-8"))
    return SCRIPT, FORMULAS, mathjax


def _mark(mark: Mark, present: str) -> str:
    points = "" if mark.points is None else f"{mark.points:g}"
    about = f"{pages.line(mark.student)}, {pages.line(mark.criterion)}"
    return (
        f'<div class="mark" data-student="{_exact(mark.student)}" data-task="{_exact(mark.task)}"'
        f' data-criterion="{_exact(mark.criterion)}" data-most="{mark.max_points:g}"'
        f' data-submission="{_exact(mark.submission)}" data-present="{_exact(present)}">\n'
        f'<span class="criterion">{pages.text(mark.criterion)}</span>\n'
        f'<span><input type="number" min="0" max="{mark.max_points:g}" step="any" value="{points}"'
        f' aria-label="Points of {mark.max_points:g}: {about}"> of {mark.max_points:g}</span>\n'
        f'<textarea rows="1" placeholder="comment" aria-label="Comment: {about}">{_exact(mark.comment)}</textarea>\n</div>'
    )


def _exact(value: str) -> str:
    """An attribute that the script gives back as it is."""
    return html.escape(value, quote=True).replace("\n", "&#10;").replace("\r", "&#13;")


def _model_answer(problem: Problem, task: str) -> str:
    cells = problem.notebook.cells
    source = next(c.source for c in cells if c.metadata.get("nbgrader", {}).get("grade_id") == task)
    return source.replace("### BEGIN SOLUTION", "").replace("### END SOLUTION", "").strip()
