"""Every page of the built book in a real browser, from disk and from a server, with the network cut off."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from .conftest import pages

PAGES = pages()
THEME_FAULTS = re.compile(r"THEBE_JS_URL")

RAW_MATHS = r"""() => {
  const skip = "script, style, pre, code, textarea, mjx-container, .math, .no-mathjax";
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent;
    if (/\$[^$\s][^$]*\$|\\\(|\\\[|\\begin\{/.test(text) && !walker.currentNode.parentElement.closest(skip)) found.push(text.trim());
  }
  return found;
}"""
OVERFLOWING = """() => [...document.querySelectorAll("article *")]
  .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .filter(e => { for (let p = e.parentElement; p; p = p.parentElement)
      if (["auto", "scroll", "hidden"].includes(getComputedStyle(p).overflowX)) return false; return true; })
  .map(e => e.tagName + "." + e.className).slice(0, 10)"""


def faults(seen) -> list[str]:
    return [fault for fault in seen.faults if not THEME_FAULTS.search(fault)]


def address(built_book: Path, page: str) -> str:
    return (built_book / f"{page}.html").as_uri()


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_from_disk_without_fault_or_external_request(page, built_book, open_page):
    assert faults(open_page(address(built_book, page))) == []


@pytest.mark.parametrize("page", PAGES)
def test_page_opens_from_a_server_without_fault_or_external_request(page, book_server, open_page):
    assert faults(open_page(f"{book_server}/{page}.html")) == []


def test_front_address_leads_to_the_index(built_book, open_page):
    seen = open_page((built_book / "index.html").as_uri())
    seen.page.wait_for_url(f"**/{PAGES[0]}.html")
    assert seen.page.locator("article h1").count() == 1


@pytest.mark.parametrize("page", PAGES)
def test_formulas_are_set_in_the_fonts_of_the_book(page, built_book, open_page):
    shown = open_page(address(built_book, page)).page
    formulas = shown.locator("span.math, div.math").count()
    assert shown.locator("mjx-container").count() >= formulas
    assert shown.locator("mjx-merror, [data-mjx-error]").all_inner_texts() == []
    assert shown.evaluate(RAW_MATHS) == []
    if formulas:
        loaded = shown.evaluate(
            "async () => { await document.fonts.ready; return [...document.fonts]"
            ".filter(f => f.family.startsWith('MJX') && f.status === 'loaded').length }"
        )
        assert loaded > 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_page_needs_no_horizontal_scroll_on_a_phone(page, scheme, built_book, open_page):
    options = {
        "width": 390,
        "height": 844,
        "device_scale_factor": 2,
        "color_scheme": scheme,
        "has_touch": True,
    }
    shown = open_page(address(built_book, page), **options).page
    assert shown.evaluate(OVERFLOWING) == []
    assert shown.evaluate("document.documentElement.scrollWidth") <= 390


@pytest.mark.parametrize("page", PAGES)
def test_images_are_drawn_and_say_what_they_show(page, built_book, open_page):
    shown = open_page(address(built_book, page)).page
    images = shown.evaluate(
        "() => [...document.querySelectorAll('article img')].map(i => [i.src.slice(0, 200), i.alt, i.naturalWidth])"
    )
    for source, text, width in images:
        assert width > 0, f"{source} is not drawn"
        assert not re.fullmatch(r"(\S*[/_])?[0-9a-f]{16,}(\.\w+)?", text.strip()), (
            f"{source}: hash as alt text"
        )
        assert len(text.split()) >= 3, f"{source}: alt text {text!r} says nothing"


@pytest.mark.parametrize("page", PAGES)
def test_internal_links_lead_somewhere(page, built_book, open_page):
    shown = open_page(address(built_book, page)).page
    links = shown.evaluate("() => [...document.querySelectorAll('a[href]')].map(a => a.href)")
    targets = {urlsplit(link) for link in links if link.startswith("file:")}
    missing = [target.geturl() for target in sorted(targets) if not leads_somewhere(target)]
    assert missing == []


def leads_somewhere(target) -> bool:
    path = Path(unquote(target.path))
    if not path.is_file():
        return False
    if not target.fragment or path.suffix != ".html":
        return True
    return any(f'{name}="{unquote(target.fragment)}"' in path.read_text() for name in ("id", "name"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", PAGES)
def test_content_has_no_accessibility_fault(page, scheme, built_book, open_page, axe):
    """axe-core on the article: the theme's own frame (search button) is not the course's to mend."""
    shown = open_page(address(built_book, page), color_scheme=scheme).page
    shown.evaluate(axe)
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
    found = shown.evaluate("rules => axe.run('article', rules)", rules)["violations"]
    assert [(v["id"], [node["target"] for node in v["nodes"]]) for v in found] == []


def test_search_finds_the_subject_from_a_server(book_server, open_page):
    seen = open_page(f"{book_server}/search.html?q=kernel")
    seen.page.locator("#search-results li").first.wait_for()
    assert faults(seen) == []
