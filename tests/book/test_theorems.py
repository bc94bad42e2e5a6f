"""The list of theorems holds every numbered statement of the book, and says how each is proved."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from .conftest import ROOT, pages

KINDS = "theorem|lemma|proposition|corollary|definition|assumption|conjecture"
STATEMENT = re.compile(rf"\{{prf:(?:{KINDS})\}}[^\n]*\n:label: (\S+)")

CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_parser", "sphinx_proof", "theorems"]
myst_enable_extensions = ["dollarmath", "colon_fence"]
numfig = True
"""
PAGE = """# Chapter

:::{prf:theorem} The first $x$
:label: thm-first
It holds.
:::

Words in between.

:::{admonition} Proof
So it does.
:::

:::{prf:lemma}
:label: lem-second
Known.
:::

:::{prf:theorem} Outlined
:label: thm-third
It holds as well.
:::

:::{admonition} Proof sketch
Roughly.
:::

:::{prf:proposition} Powers (of $m$)
:label: prop-fifth
They are so.
:::

:::{admonition} Proof (of the orders)
By counting.
:::

:::{prf:definition} A word
:label: def-fourth
Let it mean this.
:::
"""
LIST = "# List\n\n```{theorems}\nthm-first: for every $y$\n```\n"


def build(folder, **files: str):
    """The process, and the text of the list as a page without markup."""
    for name, text in {
        "conf.py": CONF,
        "index.md": "# Index\n\n```{toctree}\na\nchapter\n```\n",
        **files,
    }.items():
        (folder / name).write_text(text)
    command = [
        sys.executable,
        "-m",
        "sphinx",
        "-q",
        "-W",
        "--keep-going",
        "-b",
        "html",
        str(folder),
        str(folder / "out"),
    ]
    done = subprocess.run(command, capture_output=True, text=True)
    page = (folder / "out" / "a.html").read_text()
    return done, page, " ".join(re.sub("<[^>]+>", " ", page).split())


def test_every_statement_is_listed_with_its_phrase_and_its_proof(tmp_path):
    done, page, words = build(tmp_path, **{"a.md": LIST, "chapter.md": PAGE})
    assert done.returncode == 0, done.stderr
    for item in (
        r"Theorem 1 : The first \\\(x\\\) \(proved\) for every \\\(y\\\)",
        r"Lemma 1 \(cited\) Assumptions as stated there",
        r"Theorem 2 : Outlined \(sketched\) Assumptions",
        r"Proposition 1 : Powers \(of \\\(m\\\) ?\) \(orders derived\) Assumptions",
        r"Definition 1 : A word Assumptions",
    ):
        assert re.search(item, words), (item, words)
    assert 'href="chapter.html#thm-first"' in page


def test_phrase_without_a_statement_fails_the_build(tmp_path):
    done, _, _ = build(tmp_path, **{"a.md": LIST.replace("thm-first", "thm-firts"), "chapter.md": PAGE})
    assert done.returncode != 0
    assert "no statement has the label 'thm-firts'" in done.stderr


def labels() -> set[str]:
    return {label for name in pages() for label in STATEMENT.findall((ROOT / f"{name}.md").read_text())}


def test_list_of_the_book_holds_every_statement(built_book, open_page):
    page = open_page((built_book / "book/reference/theorems.html").as_uri()).page
    listed = page.eval_on_selector_all(".theorem-list dt a", "links => links.map(a => a.hash.slice(1))")
    assert set(listed) == labels()
    assert len(listed) == len(set(listed)) >= 19


@pytest.mark.parametrize("name", [name for name in pages() if "/foundations/" in name])
def test_theorems_of_a_chapter_have_labels_that_name_it(name):
    chapter = name.split("/")[-1].replace("_", "-")
    for label in STATEMENT.findall((ROOT / f"{name}.md").read_text()):
        assert re.match(rf"(thm|lem|prop|cor|def)-{chapter}-", label), label
