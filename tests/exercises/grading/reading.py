"""What a browser would make of a page: its elements, its texts, and everything that could act."""

from __future__ import annotations

from html.parser import HTMLParser

VOID = {"meta", "input", "br", "img", "link"}


class Reading(HTMLParser):
    """Elements with their attributes, texts outside style and script, and tags that do not match."""

    def __init__(self, page: str):
        super().__init__(convert_charrefs=True)
        self.elements, self.texts, self.open, self.crossed = [], [], [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if not self.open or self.open.pop() != tag:
            self.crossed.append(tag)

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.texts.append(data)

    @property
    def text(self) -> str:
        """All text that is shown."""
        return " ".join(" ".join(self.texts).split())

    def tags(self) -> set[str]:
        """Names of all elements."""
        return {tag for tag, _ in self.elements}


def active_content(page: str) -> list[str]:
    """Everything in a page that could run, load or lead somewhere."""
    found = []
    for tag, attributes in Reading(page).elements:
        if tag in {
            "script",
            "iframe",
            "object",
            "embed",
            "link",
            "base",
            "form",
            "img",
            "a",
            "video",
            "audio",
        }:
            if not (tag == "a" and attributes.get("href", "").startswith("#")):
                found.append(f"<{tag}>")
        for name, value in attributes.items():
            if name.startswith("on") or name in {"src", "srcset", "action", "formaction", "xlink:href"}:
                found.append(f"{name}={value}")
            if "javascript:" in (value or "").lower() or "url(" in (value or "").lower():
                found.append(f"{name}={value}")
    return found
