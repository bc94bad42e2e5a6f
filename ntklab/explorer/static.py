"""The explorer of the built book: one piece of HTML, no kernel, no network, no widget manager."""

from __future__ import annotations

import html
import json
import sys
from functools import cache
from importlib import resources

from ntklab.explorer.sliders import Frame, Plan, Slider, show_value
from ntklab.plotting import inline, plain

WIDGET_FRAMES = 60
PAGE_FRAMES = 100
PAGE_BYTES = 2_600_000  # leaves 400 kB of a 3 MB page to everything else


class Page:
    """What the explorers of one page have used; a page is built by one kernel of its own."""

    def __init__(self):
        self.frames = 0
        self.bytes = 0

    def reserve(self, plan: Plan) -> None:
        sizes = " x ".join(f"{len(slider.values)} {slider.name}" for slider in plan.sliders)
        if plan.count > WIDGET_FRAMES:
            raise ValueError(
                f"an explorer holds at most {WIDGET_FRAMES} frames, this one would have {plan.count} "
                f"({sizes}): list fewer values (a live kernel fills in finer ones)"
            )
        if self.frames + plan.count > PAGE_FRAMES:
            raise ValueError(
                f"a page holds at most {PAGE_FRAMES} frames, this one has {self.frames} and the explorer "
                f"({sizes}) adds {plan.count}: list fewer values here or in an earlier explorer"
            )
        self.frames += plan.count

    def add(self, size: int) -> None:
        self.bytes += size
        if self.bytes > PAGE_BYTES:
            raise ValueError(
                f"the explorers of a page hold at most {PAGE_BYTES / 1e6:.1f} MB, this one has reached "
                f"{self.bytes / 1e6:.1f} MB: list fewer values, or draw plainer figures (less noise, fewer "
                "curves, no gradients of colour)"
            )


page = Page()


class StaticExplorer:
    """All frames drawn; ``html`` is self-contained and may stand on a page with others."""

    def __init__(self, plan: Plan):
        page.reserve(plan)
        frames = []
        for setting in _progress(plan):
            frames.append(plan.frame(setting))
            page.add(len(frames[-1].uri))
        self.plan = plan
        self.frames: tuple[Frame, ...] = tuple(frames)
        self.html = _html(plan, self.frames)

    def __repr__(self) -> str:
        names = ", ".join(slider.name for slider in self.plan.sliders)
        return f"explorer of {names} ({self.plan.count} frames)"

    def _repr_html_(self) -> str:
        return self.html


def _progress(plan: Plan):
    """The settings with a progress bar on the terminal, past the stream that a notebook would record."""
    from tqdm import tqdm

    terminal = sys.stderr
    if "ipykernel" in sys.modules:
        number = getattr(sys.stderr, "_original_stdstream_copy", None)
        terminal = None if number is None else open(number, "w", closefd=False)
    return tqdm(
        plan.settings(),
        total=plan.count,
        desc=plain(plan.heading),
        unit="frame",
        file=terminal,
        disable=terminal is None,
        mininterval=0.5,
    )


@cache
def _asset(name: str) -> str:
    return resources.files("ntklab.explorer").joinpath(name).read_text(encoding="utf-8")


def _html(plan: Plan, frames: tuple[Frame, ...]) -> str:
    start = 0
    for slider in plan.sliders:
        start = start * len(slider.values) + slider.start
    first = frames[start]
    data = {
        # the frame shown first is already in the page
        "frames": [None if k == start else frame.uri for k, frame in enumerate(frames)],
        "alts": [frame.alt for frame in frames],
        "values": [[show_value(value) for value in slider.values] for slider in plan.sliders],
    }
    title = "" if plan.title is None else f'<p class="ntk-title">{inline(plan.title)}</p>'
    caption = "" if plan.caption is None else f"<figcaption>{inline(plan.caption)}</figcaption>"
    return f"""<figure class="ntk-explorer" aria-label="{html.escape(plain(plan.heading))}">
<style>{_asset("explorer.css")}</style>
{title}<img src="{first.uri}" alt="{html.escape(first.alt)}" width="{first.width}" height="{first.height}">
<div class="ntk-controls" hidden>{"".join(map(_control, plan.sliders))}</div>
<noscript><p>The sliders need JavaScript; one of {len(frames)} frames is shown.</p></noscript>
<p class="ntk-spoken" aria-live="polite"></p>
<script type="application/json">{_json(data)}</script>
<script>{_asset("explorer.js")}</script>
{caption}</figure>"""


def _control(slider: Slider) -> str:
    label = f'<span class="ntk-label">{inline(slider.label)}</span>'
    # a formula gives no accessible name, as its glyphs are drawn by style sheets
    name = f' aria-label="{html.escape(plain(slider.label))}"' if "$" in slider.label else ""
    words = [html.escape(show_value(value)) for value in slider.values]
    if slider.numeric:
        return (
            f'<label>{label}<output aria-live="off">{words[slider.start]}</output>'
            f'<input type="range" min="0" max="{len(words) - 1}" step="1" value="{slider.start}" '
            f'aria-valuetext="{words[slider.start]}" autocomplete="off"{name}></label>'
        )
    options = "".join(
        f'<option value="{k}"{" selected" if k == slider.start else ""}>{word}</option>'
        for k, word in enumerate(words)
    )
    return f'<label>{label}<select autocomplete="off"{name}>{options}</select></label>'


def _json(data: dict) -> str:
    """JSON that no text inside can break out of its script element with."""
    written = json.dumps(data, ensure_ascii=True, separators=(",", ":"))
    return written.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
