"""What an explorer shows, before it is known whether a page or a kernel will show it."""

from __future__ import annotations

import itertools
import math
import numbers
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ntklab.plotting import close, data_uri, text

FINER = 8  # steps of a live slider between two listed values


@dataclass(frozen=True)
class Slider:
    """One slider: ascending numbers, or words in any order."""

    name: str
    label: str
    values: tuple
    start: int  # position of the value shown first

    @classmethod
    def of(cls, name: str, values, label: str, initial: Mapping) -> Slider:
        if isinstance(values, (str, bytes, Mapping)):
            raise TypeError(f"{name} must be a list of numbers or of words, got {values!r}")
        try:
            items = tuple(value.item() if isinstance(value, np.generic) else value for value in values)
        except TypeError:
            raise TypeError(f"{name} must be a list of numbers or of words, got {values!r}") from None
        if not items:
            raise ValueError(f"{name} must list at least one value, got none")
        if all(isinstance(value, str) for value in items):
            if len(set(items)) < len(items):
                raise ValueError(f"{name} must not repeat a word, got {list(items)}")
            for value in items:
                text(name, value)
        elif all(_is_number(value) for value in items):
            if not all(math.isfinite(value) for value in items):
                raise ValueError(f"{name} must hold finite numbers, got {list(items)}")
            if any(after <= before for before, after in itertools.pairwise(items)):
                raise ValueError(f"{name} must ascend, got {list(items)}")
        else:
            raise TypeError(f"{name} must hold only numbers or only words, got {list(items)}")
        start = initial.get(name, items[0])
        if start not in items:
            raise ValueError(f"initial {name} must be one of {list(items)}, got {start!r}")
        return cls(name, text("label", label), items, items.index(start))

    @property
    def numeric(self) -> bool:
        return not isinstance(self.values[0], str)

    def finer(self) -> tuple:
        """The listed values and up to seven more between neighbours.

        Spaced evenly, or by equal factors where the listed values are; integers stay integers.
        """
        if not self.numeric:
            return self.values
        between = np.geomspace if _geometric(self.values) else np.linspace
        out = [self.values[0]]
        for low, high in itertools.pairwise(self.values):
            inner = between(low, high, FINER + 1)[1:-1].tolist()
            if all(isinstance(value, int) for value in self.values):
                inner = sorted({round(value) for value in inner} - {low, high})
            out += [*inner, high]
        return tuple(out)


@dataclass(frozen=True)
class Plan:
    """A drawing function, its words and its sliders."""

    draw: Callable
    alt: str | Callable[..., str]
    title: str | None
    caption: str | None
    sliders: tuple[Slider, ...]

    @property
    def count(self) -> int:
        return math.prod(len(slider.values) for slider in self.sliders)

    @property
    def heading(self) -> str:
        return self.title or "Explorer: " + ", ".join(slider.label for slider in self.sliders)

    def settings(self) -> Iterator[dict]:
        """Every combination of listed values, the last slider moving fastest."""
        names = [slider.name for slider in self.sliders]
        for values in itertools.product(*(slider.values for slider in self.sliders)):
            yield dict(zip(names, values, strict=True))

    def frame(self, setting: dict) -> Frame:
        """Draw one frame, and leave no figure open whatever happens."""
        import matplotlib.pyplot as plt

        before = set(plt.get_fignums())
        try:
            figure = self.draw(**setting)
            try:
                uri, width, height = data_uri(figure)
            except TypeError:
                kind = type(figure).__name__
                raise TypeError(f"draw must return a matplotlib Figure, got {kind} at {setting}") from None
            close(figure)
        finally:
            for number in set(plt.get_fignums()) - before:
                plt.close(number)
        return Frame(uri, width, height, self.words(setting))

    def words(self, setting: dict) -> str:
        """The text alternative of one frame."""
        if callable(self.alt):
            return text(f"alt at {setting}", self.alt(**setting))
        shown = {name: show_value(value) for name, value in setting.items()}
        try:
            return text(f"alt at {setting}", self.alt.format(**shown))
        except (KeyError, IndexError):
            raise ValueError(
                f"alt may hold in braces the sliders {list(setting)} only, got {self.alt!r}"
            ) from None


@dataclass(frozen=True)
class Frame:
    """A drawn picture: data URI, size in CSS pixels, text alternative."""

    uri: str
    width: int
    height: int
    alt: str


def show_value(value) -> str:
    """A slider's value as its reader sees it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _is_number(value) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool)


def _geometric(values: tuple) -> bool:
    """Whether the ratios of neighbours vary less than their differences do."""
    if values[0] <= 0 or len(values) < 2:
        return False
    if len(values) == 2:
        return values[1] >= 10 * values[0]
    steps, factors = np.diff(values), np.diff(np.log(values))
    return bool(factors.max() / factors.min() < steps.max() / steps.min())
