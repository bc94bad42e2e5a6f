"""A real browser with the network cut off, and a record of everything that goes wrong on a page."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field

from playwright.sync_api import Browser, Page

ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
]
LOCAL = (
    "file:",
    "data:",
    "blob:",
    "about:",
    "http://127.0.0.1",
    "http://localhost",
    "ws://127.0.0.1",
)

SCROLL_THROUGH = """async () => {
  document.querySelectorAll("details").forEach(e => { e.open = true; });
  document.querySelectorAll(".toggle-hidden").forEach(e => e.classList.remove("toggle-hidden"));
  const pause = () => new Promise(resolve => setTimeout(resolve, 60));
  const unset = () => [...document.querySelectorAll("article mjx-lazy")].filter(e => e.getClientRects().length);
  for (let tries = 0; tries < 1000 && unset().length; tries++) {
    unset()[0].scrollIntoView({ block: "start", behavior: "instant" });
    await pause();
  }
  return unset().length;
}"""


def chromium_path() -> str | None:
    """The system's chromium, or None."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@dataclass
class Visit:
    """A page together with its faults: console errors, exceptions, failed and external requests."""

    page: Page
    faults: list[str] = field(default_factory=list)

    def record(self) -> None:
        def block_external(route) -> None:
            if route.request.url.startswith(LOCAL):
                route.continue_()
            else:
                self.faults.append(f"external request: {route.request.url}")
                route.abort()

        self.page.route("**/*", block_external)
        self.page.on("pageerror", lambda error: self.faults.append(f"exception: {error}"))
        self.page.on("console", self._console)
        self.page.on("requestfailed", self._failed)
        self.page.on("response", self._response)

    def open(self, url: str) -> Visit:
        """Load ``url`` and wait until its formulas are set (those in view, see ``set_all_formulas``)."""
        self.page.goto(url, wait_until="load")
        self.page.evaluate("() => window.MathJax?.startup?.promise")
        return self

    def set_all_formulas(self) -> None:
        """Open whatever is folded and scroll through the page, so that MathJax sets every formula."""
        assert self.page.evaluate(SCROLL_THROUGH) == 0, f"formulas stay unset on {self.page.url}"

    def _console(self, message) -> None:
        if message.type == "error":
            self.faults.append(f"console: {message.text}")

    def _failed(self, request) -> None:
        if request.url.startswith(LOCAL):
            self.faults.append(f"failed request: {request.url} ({request.failure})")

    def _response(self, response) -> None:
        if response.status >= 400:
            self.faults.append(f"status {response.status}: {response.url}")


def visit(browser: Browser, url: str, *, width: int = 1280, height: int = 900, **context) -> Visit:
    """Open ``url`` in a fresh context; close it with ``.page.context.close()``.

    ``width`` and ``height`` are in CSS pixels; further arguments go to ``Browser.new_context``.
    """
    page = browser.new_context(viewport={"width": width, "height": height}, **context).new_page()
    seen = Visit(page)
    seen.record()
    return seen.open(url)
