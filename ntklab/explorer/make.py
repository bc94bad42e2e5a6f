"""The one public function, and the checks on what it is given."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence

from ntklab.explorer.sliders import Plan, Slider
from ntklab.plotting import text


def explorer(
    draw: Callable,
    /,
    *,
    alt: str | Callable[..., str],
    title: str | None = None,
    caption: str | None = None,
    labels: Mapping[str, str] | None = None,
    initial: Mapping[str, object] | None = None,
    **sliders: Sequence,
):
    """Put a plotting function under sliders.

    ::

        def draw(width, activation):
            fig, ax = plotting.figure()
            ...
            return fig

        nl.explorer(draw, alt="Kernel of a {activation} network, width {width}",
                    width=[16, 64, 256], activation=["ReLU", "Erf"])

    With a live kernel it opens at once, draws a frame when it is first looked at, and its sliders take
    finer values than those listed.  Where the environment variable ``NTKLAB_STATIC`` is 1 (the book's
    build), all frames are drawn now and the result is one piece of HTML that needs neither kernel nor
    network.  Leave the result as the last expression of a cell.

    Args:
        draw: called with one keyword a slider; returns a ``matplotlib.figure.Figure``.
        alt: what is seen in a frame, in words: a template with the sliders' names in braces, or a function
            called like ``draw`` that returns the text.
        title: what the explorer is called (by default named after its sliders).
        caption: a line under the sliders.  ``$...$`` is mathematics here, in the title and in labels.
        labels: the text beside a slider, by the slider's name; by default the name itself.
        initial: the values shown first, by the slider's name; by default each slider's first.
        sliders: the values of each: ascending numbers (a slider) or words (a menu).

    Raises:
        TypeError: ``draw`` is not callable or returns no figure, values that are neither numbers nor words.
        ValueError: no slider, values out of order or repeated, an unknown name in ``labels`` or
            ``initial``, an empty ``alt``, or (in the book) more than 60 frames or more than 100 a page.
        ImportError: a live kernel without ipywidgets.
    """
    if not callable(draw):
        raise TypeError(f"draw must be a function of the sliders' values, got {draw!r}")
    plan = Plan(
        draw=draw,
        alt=alt if callable(alt) else text("alt", alt),
        title=None if title is None else text("title", title),
        caption=None if caption is None else text("caption", caption),
        sliders=_sliders(sliders, labels or {}, initial or {}),
    )
    if isinstance(plan.alt, str):
        plan.words(next(plan.settings()))
    if os.environ.get("NTKLAB_STATIC") == "1":
        from ntklab.explorer.static import StaticExplorer

        return StaticExplorer(plan)
    from ntklab.explorer.live import LiveExplorer

    return LiveExplorer(plan)


def _sliders(values: Mapping, labels: Mapping, initial: Mapping) -> tuple[Slider, ...]:
    if not values:
        raise ValueError("an explorer needs at least one slider, for instance width=[16, 64, 256]")
    for name, given in (("labels", labels), ("initial", initial)):
        if unknown := set(given) - set(values):
            raise ValueError(f"{name} names {sorted(unknown)}, but the sliders are {list(values)}")
    return tuple(Slider.of(name, values[name], labels.get(name, name), initial) for name in values)
