"""The page of claims: what it shows, and that a build fails where a row has no check that passed."""

from __future__ import annotations

import copy
import io
import json
import sys

import nbformat
import pytest
import yaml
from myst_nb.core.execute import ExecutionError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from .conftest import ROOT

sys.path.insert(0, str(ROOT / "book" / "_ext"))
from claims import checks, rows

CONF = f"""
import sys
sys.path.insert(0, {str(ROOT / "book" / "_ext")!r})
extensions = ["myst_nb", "sphinxcontrib.bibtex", "claims"]
bibtex_bibfiles = ["references.bib"]
myst_enable_extensions = ["dollarmath", "deflist"]
nb_execution_mode = "off"
nb_execution_raise_on_error = True
"""
BIB = "@misc{known2020, author = {Known, Ann}, title = {A Title}, year = {2020}}\n"


def chapter(name: str, source: str, number: str | None, *, target: bool = True, **metadata) -> str:
    """A notebook with stored outputs: a target and one cell that glues the claim's number."""
    output = []
    if number is not None:
        key = f"claim_{name.lower()}"
        scrap = {"scrapbook": {"name": key, "mime_prefix": "application/papermill.record/"}}
        data = {"application/papermill.record/text/plain": repr(number)}
        output = [new_output("display_data", data, metadata=scrap)]
    words = f"# Chapter of {name}\n\n" + f"(claim-{name.lower()})=\n" * target
    text = new_markdown_cell(f"{words}\nHere is claim {name}, but not `C03` and not C99.")
    cell = new_code_cell(source, outputs=output, execution_count=1, metadata=metadata)
    spec = {
        "kernelspec": {"name": "python3", "display_name": "Python 3"},
        "language_info": {"name": "python", "pygments_lexer": "ipython3"},
    }
    return nbformat.writes(new_notebook(cells=[text, cell], metadata=spec))


def source(name: str) -> str:
    return (
        f"value = 1 + 1\nassert value == 2\nglue('claim_{name.lower()}', f'{{value}} units', display=False)"
    )


def row(name: str, check: str, place: str) -> dict:
    return {
        "id": name,
        "where": {"note": "section 1"},
        "claim": f"A statement with $x^2$, number {name}.",
        "verdict": "right" if name == "C01" else "wrong",
        "truth": "What is true; see C02.",
        "references": ["known2020"] if name == "C01" else [],
        "chapter": place,
        "check": check,
    }


@pytest.fixture
def small(tmp_path) -> dict:
    """Files of a book in which everything is in order: two claims are measured, one is tested, the rest wait."""
    checks_of = {
        "C01": ("cell", "after"),
        "C02": ("cell", "before"),
        "C03": ("tests/test_it.py::test_sum", "after"),
    }
    data = {
        "sources": {"note": "a note"},
        "verdicts": {"right": "it holds", "wrong": "it does not"},
        "chapters": {
            "before": {"title": "Before", "page": "before"},  # read before the page of claims
            "after": {"title": "Thereafter", "page": "thereafter"},  # and after it
            "later": {"title": "Later", "page": "later"},
        },
        "claims": [row(name, *checks_of.get(name, ("waits", "later"))) for name in rows.IDS],
    }
    return {
        "folder": tmp_path,
        "data": data,
        "files": {
            "conf.py": CONF,
            "references.bib": BIB,
            "index.md": "# Index\n\n```{toctree}\nbefore\nclaims\nthereafter\nliterature\n```\n",
            "claims.md": "# Claims\n\n```{claims} claims.yml\n```\n",
            "literature.md": "# Literature\n\n```{bibliography}\n```\n",
            "before.ipynb": chapter("C02", source("C02"), "2 units before"),
            "thereafter.ipynb": chapter("C01", source("C01"), "2 units after"),
            "tests/test_it.py": "def test_sum():\n    assert 1 + 1 == 2\n\n\ndef test_wrong():\n    assert 1 + 1 == 3\n",
        },
    }


def build(small: dict, builder: str = "dummy", fresh: bool = True) -> tuple[int, str]:
    """(status, warnings) of a build in which warnings are errors."""
    folder = small["folder"]
    for name, text in {
        **small["files"],
        "claims.yml": yaml.safe_dump(small["data"], sort_keys=False),
    }.items():
        path = folder / "source" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
    warnings = io.StringIO()
    folders = (folder / "source", folder / "source", folder / builder, folder / "doctrees")
    with patch_docutils(), docutils_namespace():
        app = Sphinx(
            *folders,
            builder,
            status=None,
            warning=warnings,
            freshenv=fresh,
            warningiserror=True,
            keep_going=True,
        )
        app.build()
    return app.statuscode, warnings.getvalue()


def test_page_shows_what_each_chapter_measured_wherever_it_is_read(small):
    status, warnings = build(small, "html")
    assert warnings == "" and status == 0
    page = (small["folder"] / "html" / "claims.html").read_text()
    assert "2 units before" in page and "2 units after" in page
    assert 'href="before.html#check-c02"' in page and 'href="before.html#claim-c02"' in page
    assert 'id="check-c02"' in (small["folder"] / "html" / "before.html").read_text()
    assert (
        "Of 71 claims, 2 were measured and asserted in this build, 1 passed a test in this build and 68 wait"
        in page
    )
    assert "1 right, 70 wrong" in page
    assert "test_sum" in page


def test_row_that_waits_is_never_shown_as_checked(small):
    build(small, "html")
    page = (small["folder"] / "html" / "claims.html").read_text()
    cards = page.split('<div class="claim ')[1:]
    assert len(cards) == len(rows.IDS)
    waiting = [card for card in cards if "check-waits" in card.split(">")[0]]
    assert len(waiting) == 68
    for card in waiting:
        assert "not checked yet" in card and "Waits for the chapter" in card and "Measured" not in card


def test_other_pages_link_to_the_rows_they_name(small):
    build(small, "html")
    page = (small["folder"] / "html" / "thereafter.html").read_text()
    assert 'href="claims.html#c01"' in page
    assert "claims.html#c03" not in page and "C99" in page  # code and unknown numbers stay as they are


def test_page_follows_a_number_that_changes_though_the_page_itself_does_not(small):
    build(small, "html")
    small["files"]["thereafter.ipynb"] = chapter("C01", source("C01"), "3 units after")
    status, warnings = build(small, "html", fresh=False)
    assert warnings == "" and status == 0
    page = (small["folder"] / "html" / "claims.html").read_text()
    assert "3 units after" in page and "2 units after" not in page


def field(name, key, value):
    return lambda small: small["data"]["claims"][rows.IDS.index(name)].update({key: value})


def file(name, text):
    return lambda small: small["files"].update({name: text})


def without_check(small):
    del small["data"]["claims"][0]["check"]


def without_row(small):
    del small["data"]["claims"][41]


def twice(small):
    small["data"]["claims"].append(copy.deepcopy(small["data"]["claims"][0]))


NO_ASSERT = "glue('claim_c01', '2 units', display=False)"
BROKEN = {
    "a row has no check": (without_check, r"C01: fields missing: ['check']"),
    "a row has an unknown field": (
        field("C05", "colour", "red"),
        "C05: fields missing: [], unknown: ['colour']",
    ),
    "a row is missing": (without_row, "no row for C42"),
    "a row stands twice": (twice, "C01: has 2 rows"),
    "an id is none of the list": (field("C71", "id", "C72"), "C72: the id is not one of C01 to C71"),
    "a verdict is none of the list": (
        field("C04", "verdict", "odd"),
        "C04: the verdict 'odd' is not one of right, wrong",
    ),
    "a chapter is none of the list": (field("C04", "chapter", "odd"), "C04: unknown chapter 'odd'"),
    "a source is none of the list": (field("C04", "where", {"odd": "1"}), "C04: unknown source ['odd']"),
    "a reference is unknown": (
        field("C04", "references", ["unknown2020"]),
        'could not find bibtex key "unknown2020"',
    ),
    "the target is missing": (
        file("thereafter.ipynb", chapter("C01", source("C01"), "2 units", target=False)),
        "C01: no page has the target (claim-c01)=",
    ),
    "no cell glues": (
        file("thereafter.ipynb", chapter("C01", "assert 1 + 1 == 2", None)),
        "C01: one cell whose code is shown must glue claim_c01, found: none",
    ),
    "the cell is hidden": (
        file("thereafter.ipynb", chapter("C01", source("C01"), "2 units", tags=["remove-cell"])),
        "C01: one cell whose code is shown must glue claim_c01, found: none",
    ),
    "two cells glue": (
        file("before.ipynb", chapter("C01", source("C01"), "2 units", target=False)),
        "C01: one cell whose code is shown must glue claim_c01, found: before, thereafter",
    ),
    "nothing is asserted": (
        file("thereafter.ipynb", chapter("C01", NO_ASSERT, "2 units")),
        "C01: its cell in thereafter asserts nothing before it glues",
    ),
    "the build has no number": (
        file("thereafter.ipynb", chapter("C01", source("C01"), None)),
        "C01: thereafter gives no number for it in this build",
    ),
    "the number is empty": (
        file("thereafter.ipynb", chapter("C01", source("C01"), "")),
        "C01: thereafter gives no number for it in this build",
    ),
    "the test does not exist": (
        field("C03", "check", "tests/test_it.py::test_nothing"),
        "C03: there is no test 'tests/test_it.py::test_nothing', or it does not pass",
    ),
    "the test fails": (field("C03", "check", "tests/test_it.py::test_wrong"), "or it does not pass"),
    "the check is a word": (field("C03", "check", "yes"), "C03: there is no test 'yes'"),
    "a row waits for a chapter that exists": (
        field("C02", "check", "waits"),
        "C02: waits for a chapter that exists, before",
    ),
    "a row waits though a cell checks it": (
        file("before.ipynb", chapter("C05", source("C05"), "2 units")),
        "C05: waits, but before has a cell for it",
    ),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_build_fails_if(kind, small):
    spoil, complaint = BROKEN[kind]
    spoil(small)
    status, warnings = build(small)
    assert status == 1
    assert complaint in warnings


def test_warning_names_the_line_of_the_row(small):
    field("C04", "verdict", "odd")(small)
    _, warnings = build(small)
    lines = (small["folder"] / "source" / "claims.yml").read_text().splitlines()
    assert f"claims.yml:{lines.index('- id: C04') + 1}: WARNING" in warnings


def test_build_fails_if_an_assertion_fails(small):
    small["files"]["conf.py"] = CONF.replace('"off"', '"force"\nnb_execution_excludepatterns = ["before*"]')
    wrong = source("C01").replace("== 2", "== 3")
    small["files"]["thereafter.ipynb"] = chapter("C01", f"from myst_nb import glue\n{wrong}", None)
    with pytest.raises(ExecutionError, match="thereafter"):
        build(small)


# Which assertions count


@pytest.mark.parametrize(
    "code",
    [
        "assert x > 1",
        "for x in y:\n    assert x",
        "with a:\n    if b:\n        assert x",
        "np.testing.assert_allclose(x, y)",
        "torch.testing.assert_close(x, y)",
        "%time x = 1\nassert x",
    ],
)
def test_assertion_before_the_number_counts(code):
    assert checks.glued(f"{code}\nglue('claim_c07', 'two', display=False)") == {"C07": True}
    assert checks.glued(f"glue('claim_c07', 'two', display=False)\n{code}") == {"C07": False}


@pytest.mark.parametrize(
    "code", ["assert True", "assert 'so'", "def f():\n    assert x", "x = lambda: f", "# assert x"]
)
def test_assertion_that_cannot_fail_does_not_count(code):
    assert checks.glued(f"{code}\nglue('claim_c07', 'two', display=False)") == {"C07": False}


def test_cells_without_claims_are_left_alone():
    assert checks.glued("glue('ch1_slope', 2)\nprint('claim_c07')") == {}
    assert checks.glued("this is not Python") == {}


# The course's own page


@pytest.fixture(scope="module")
def data() -> dict:
    return rows.load(ROOT / "book" / "reference" / "claims.yml")


def test_all_claims_have_their_row_with_source_verdict_truth_and_literature(data):
    assert sorted(row["id"] for row in data["claims"]) == rows.IDS
    for one in data["claims"]:
        assert one["references"], one["id"]
        assert one["where"] or one["verdict"] == "open", one["id"]
        for text in (one["claim"], one["truth"]):
            assert text.rstrip().endswith((".", ".*")), one["id"]


def test_rows_wait_for_chapters_that_do_not_exist_and_for_no_others(data):
    for one in data["claims"]:
        exists = (ROOT / f"{data['chapters'][one['chapter']]['page']}.md").is_file()
        assert (one["check"] == "waits") != exists, one["id"]


@pytest.fixture
def page(built_book, open_page):
    return open_page((built_book / "book/reference/claims.html").as_uri()).page


def test_built_page_shows_a_number_for_every_row_that_does_not_wait(page, data):
    for one in data["claims"]:
        words = page.locator(f"#{one['id'].lower()} .claim-check").text_content()
        if one["check"] == "cell":
            assert page.locator(f"#{one['id'].lower()} .claim-number").text_content().strip()
            assert "Measured in this build" in words
        else:
            assert "Measured" not in words
    waiting = sum(one["check"] == "waits" for one in data["claims"])
    counts = page.locator(".claims-counts").text_content()
    assert f"{len(data['claims']) - waiting} were measured" in counts and (
        f"{waiting} wait" in counts or not waiting
    )


def shown(page) -> list[str]:
    return page.eval_on_selector_all(
        ".claim", "cards => cards.filter(c => c.offsetParent).map(c => c.id.toUpperCase())"
    )


def test_filters_by_chapter_verdict_and_words(page, data):
    page.get_by_label("Chapter").select_option("Dynamics")
    in_dynamics = {one["id"] for one in data["claims"] if one["chapter"] == "dynamics"}
    assert set(shown(page)) == in_dynamics
    page.get_by_label("Verdict").select_option("fails")
    failing = {one["id"] for one in data["claims"] if one["verdict"] == "fails"}
    assert set(shown(page)) == in_dynamics & failing
    assert page.locator(".claims-filter output").inner_text() == f"{len(in_dynamics & failing)} of 71 shown"
    page.get_by_label("Words").fill("rank")
    assert shown(page) == ["C09"]
    assert not page.locator("#claims-limits").is_visible()


def test_link_to_a_row_shows_it_whatever_the_filters(page):
    page.get_by_label("Verdict").select_option("wrong")
    assert "C01" not in shown(page)
    page.evaluate("location.hash = '#c01'")
    page.wait_for_function("document.getElementById('c01').offsetParent")
    assert len(shown(page)) == 71


def test_filters_need_scripts_and_rows_do_not(built_book, browser):
    page = browser.new_page(java_script_enabled=False)
    page.goto((built_book / "book/reference/claims.html").as_uri())
    assert not page.locator(".claims-filter").is_visible()
    assert page.locator(".claim").count() == 71 and page.locator("#c71").is_visible()
    page.close()


def test_numbers_on_the_page_are_those_of_the_cells(page, built_book, data):
    folder = built_book.parent / "jupyter_execute" / "book"
    if not folder.is_dir():
        pytest.skip("only the pages of the book are here, not its outputs")
    glued = {}
    for path in folder.rglob("*.glue.json"):
        glued |= {key: value["data"]["text/plain"] for key, value in json.loads(path.read_text()).items()}
    for one in data["claims"]:
        if one["check"] == "cell":
            number = page.locator(f"#{one['id'].lower()} .claim-number").text_content()
            assert number.strip() in glued[f"claim_{one['id'].lower()}"], one["id"]
