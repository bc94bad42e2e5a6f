"""The bibliography is complete and consistent, and everything cited or defined in the book exists."""

import re
from collections import Counter
from pathlib import Path

import pytest

pybtex = pytest.importorskip("pybtex.database")

BOOK = Path(__file__).parents[2] / "book"
BIB = BOOK / "references.bib"
REQUIRED = {
    "article": {"author", "title", "journal", "year"},
    "inproceedings": {"author", "title", "booktitle", "year"},
    "book": {"author", "title", "publisher", "year"},
    "techreport": {"author", "title", "institution", "year"},
    "misc": {"author", "title", "year", "eprint"},
}
ALLOWED = {"edition", "volume", "number", "pages", "series", "eprint", "doi"}
CONFERENCES = {  # what to add to the number of a conference for its year
    "Advances in Neural Information Processing Systems": 1987,
    "International Conference on Machine Learning": 1983,
}
CITATION = re.compile(r"\{cite(?::[a-z]+)?\}`([^`]+)`")
TERM = re.compile(r"\{term\}`(?:[^`<]*<([^`>]+)>|([^`<]+))`")


@pytest.fixture(scope="module")
def entries():
    return pybtex.parse_file(str(BIB)).entries


@pytest.fixture(scope="module")
def pages():
    return {path: path.read_text(encoding="utf-8") for path in BOOK.rglob("*.md")}


def test_every_entry_has_the_fields_of_its_kind_and_no_others(entries):
    for key, entry in entries.items():
        fields = set(entry.fields) | set(entry.persons)
        assert entry.type in REQUIRED, f"{key}: {entry.type}"
        assert REQUIRED[entry.type] <= fields, f"{key} lacks {REQUIRED[entry.type] - fields}"
        assert fields <= REQUIRED[entry.type] | ALLOWED, (
            f"{key} has {fields - REQUIRED[entry.type] - ALLOWED}"
        )


def test_no_key_title_or_arxiv_number_occurs_twice(entries):
    keys = Counter(re.findall(r"^@\w+\{([^,\s]+),", BIB.read_text(encoding="utf-8"), re.M))
    assert keys.total() == len(entries) and max(keys.values()) == 1
    titles = Counter(re.sub(r"\W", "", entry.fields["title"]).lower() for entry in entries.values())
    assert max(titles.values()) == 1, titles.most_common(1)
    numbers = Counter(entry.fields["eprint"] for entry in entries.values() if "eprint" in entry.fields)
    assert max(numbers.values()) == 1, numbers.most_common(1)


def test_keys_carry_first_author_and_year(entries):
    for key, entry in entries.items():
        name = re.sub(r"[^a-z]", "", _ascii("".join(entry.persons["author"][0].last_names)))
        assert key.startswith(name + entry.fields["year"]), key


def test_no_paper_is_published_before_it_is_on_arxiv(entries):
    """arXiv numbers start with year and month; a published version may be of the same year or later."""
    for key, entry in entries.items():
        if number := entry.fields.get("eprint"):
            assert re.fullmatch(r"\d{4}\.\d{4,5}", number), key
            late = {"yang2021tuning", "zhdanov2010identity"}  # posted in the year after the conference
            assert 2000 + int(number[:2]) <= int(entry.fields["year"]) + (key in late), key


def test_numbered_proceedings_agree_with_their_year(entries):
    """NeurIPS 31 is that of 2018, and the 36th ICML that of 2019."""
    for key, entry in entries.items():
        venue, year = entry.fields.get("booktitle", ""), int(entry.fields["year"])
        for series, before in CONFERENCES.items():
            if series in venue:
                number = int(re.search(r"\d+", venue)[0])
                assert number + before == year, key
        assert not re.search(r"NIPS|NeurIPS|ICML|arXiv", venue), f"{key}: spell the venue out"


def test_every_citation_has_an_entry(entries, pages):
    for path, text in pages.items():
        for keys in CITATION.findall(text):
            for key in keys.split(","):
                assert key.strip() in entries, f"{path.name}: {key}"


def test_every_term_is_in_the_glossary(pages):
    glossary = pages[BOOK / "reference" / "glossary.md"]
    terms = {line.lower() for line in glossary.splitlines() if re.match(r"[A-Za-z]", line)}
    for path, text in pages.items():
        for explicit, plain in TERM.findall(text):
            assert (explicit or plain).strip().lower() in terms, f"{path.name}: {explicit or plain}"


def test_every_glossary_term_is_explained(pages):
    body = pages[BOOK / "reference" / "glossary.md"].split("```{glossary}\n:sorted:\n")[1].split("```")[0]
    for block in body.strip().split("\n\n"):
        lines = block.splitlines()
        assert re.match(r"\S", lines[0]) and lines[-1].startswith("  ") and lines[-1].endswith("."), lines[0]
    terms = [line.lower() for line in body.splitlines() if re.match(r"\S", line)]
    assert len(terms) == len(set(terms)) >= 40


def _ascii(name: str) -> str:
    return re.sub(r"\\.|[{}]", "", name).lower()
