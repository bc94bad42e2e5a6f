"""Every page of the built book in a real browser, from disk and from a server, with the network cut off."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.browser import visit

from .conftest import pages

PAGES = pages()
THEME_FAULTS = re.compile("THEBE_JS_URL")

RAW_MATHS = r"""() => {
  const skip = "script, style, pre, code, textarea, mjx-container, .math";
  const walker = document.createTreeWalker(document.querySelector("article"), NodeFilter.SHOW_TEXT);
  const found = [];
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent;
    if (walker.currentNode.parentElement.closest(skip)) continue;
    if (/\$[^$\s][^$]*\$|\\\(|\\\[|\\begin\{/.test(text)) found.push(text.trim());
  }
  return found;
}"""

LOADED_FONTS = """async () => {
  await document.fonts.ready;
  return [...document.fonts].filter(f => f.family.startsWith("MJX") && f.status === "loaded").length;
}"""

OVERFLOWING = """() => {
  const scrolls = e => ["auto", "scroll", "hidden"].includes(getComputedStyle(e).overflowX);
  const inBox = e => { for (let p = e.parentElement; p; p = p.parentElement) if (scrolls(p)) return true; };
  return [...document.querySelectorAll("article *")]
    .filter(e => e.getBoundingClientRect().right > document.documentElement.clientWidth + 1 && !inBox(e))
    .map(e => e.tagName + "." + e.className).slice(0, 10);
}"""


def faults(seen) -> list[str]:
    return [fault for fault in seen.faults if not THEME_FAULTS.search(fault)]


def open_with(browser, address: str, **options):
    seen = visit(browser, address, **options)
    yield seen
    seen.page.context.close()


@pytest.fixture(scope="module", params=PAGES)
def desktop(request, built_book, browser):
    """A page opened once from disk on a wide screen."""
    yield from open_with(browser, (built_book / f"{request.param}.html").as_uri())


@pytest.fixture(scope="module", params=PAGES)
def phone(request, built_book, browser):
    """A page opened once from disk on a phone."""
    options = {"width": 390, "height": 844, "device_scale_factor": 2, "has_touch": True, "is_mobile": True}
    yield from open_with(browser, (built_book / f"{request.param}.html").as_uri(), **options)


def test_page_opens_from_disk_without_fault_or_external_request(desktop):
    assert faults(desktop) == []


def test_formulas_are_set_in_the_fonts_of_the_book(desktop):
    page = desktop.page
    desktop.set_all_formulas()
    formulas = page.locator("span.math, div.math").count()
    assert page.locator("mjx-container").count() >= formulas
    assert page.locator("mjx-merror, [data-mjx-error]").all_inner_texts() == []
    assert page.evaluate(RAW_MATHS) == []
    assert page.evaluate(LOADED_FONTS) > 0 or formulas == 0


def test_images_are_drawn_and_say_what_they_show(desktop):
    images = desktop.page.eval_on_selector_all(
        "article img", "images => images.map(i => [i.src.slice(0, 200), i.alt, i.complete, i.naturalWidth])"
    )
    for source, text, complete, width in images:
        assert width > 0 or not complete, f"{source} is not drawn"
        assert not re.fullmatch(r"(\S*[/_])?[0-9a-f]{16,}(\.\w+)?", text.strip()), (
            f"{source}: hash as alt text"
        )
        assert len(text.split()) >= 3, f"{source}: alt text {text!r} says nothing"


def test_internal_links_lead_somewhere(desktop):
    links = desktop.page.eval_on_selector_all("a[href]", "links => links.map(a => a.href)")
    targets = {urlsplit(link) for link in links if link.startswith("file:")}
    assert [target.geturl() for target in sorted(targets) if not leads_somewhere(target)] == []


def leads_somewhere(target) -> bool:
    path = Path(unquote(target.path))
    if not path.is_file():
        return False
    if not target.fragment or path.suffix != ".html":
        return True
    return any(f'{name}="{unquote(target.fragment)}"' in path.read_text() for name in ("id", "name"))


WCAG = {"type": "tag", "values": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}
CONTRAST = {"type": "rule", "values": ["color-contrast"]}  # nothing else differs in the dark


@pytest.mark.parametrize(("scheme", "rules"), [("light", WCAG), ("dark", CONTRAST)], ids=["light", "dark"])
def test_content_has_no_accessibility_fault(desktop, scheme, rules, axe):
    """axe-core on the article: the theme's own frame (its search button) is not the course's to mend."""
    desktop.page.emulate_media(color_scheme=scheme)
    desktop.page.wait_for_function("scheme => document.documentElement.dataset.theme === scheme", arg=scheme)
    desktop.page.evaluate(axe)
    found = desktop.page.evaluate("rules => axe.run('article', { runOnly: rules })", rules)["violations"]
    assert [(fault["id"], [node["target"] for node in fault["nodes"]]) for fault in found] == []


def test_page_needs_no_horizontal_scroll_on_a_phone(phone):
    phone.set_all_formulas()
    assert phone.page.evaluate(OVERFLOWING) == []
    assert phone.page.evaluate("document.documentElement.scrollWidth") <= 390
    assert faults(phone) == []


@pytest.mark.parametrize("name", PAGES)
def test_page_opens_from_a_server_without_fault_or_external_request(name, book_server, open_page):
    assert faults(open_page(f"{book_server}/{name}.html")) == []


def test_front_address_leads_to_the_index(built_book, browser):
    page = browser.new_page()
    page.goto((built_book / "index.html").as_uri(), wait_until="commit")
    page.wait_for_url(f"**/{PAGES[0]}.html")
    assert page.locator("article h1").count() == 1
    page.close()


def test_search_finds_the_subject_from_a_server(book_server, open_page):
    seen = open_page(f"{book_server}/search.html?q=kernel")
    seen.page.locator("#search-results li").first.wait_for()
    assert faults(seen) == []
