"""Explorers: every frame of the built page, and a live one that computes what was not listed."""

import html
import json
import re
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.figure import Figure

from ntklab.explorer import explorer
from ntklab.explorer import static as static_module
from ntklab.explorer.sliders import Slider

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)>\"'&{0}"


@pytest.fixture
def static(monkeypatch):
    """The book's build, on a page of its own."""
    monkeypatch.setenv("NTKLAB_STATIC", "1")
    monkeypatch.setattr(static_module, "page", static_module.Page())


@pytest.fixture
def live(monkeypatch):
    monkeypatch.delenv("NTKLAB_STATIC", raising=False)


def draw(**values) -> Figure:
    """A small figure that differs for every setting."""
    figure = Figure(figsize=(1, 1), dpi=50)
    figure.text(0, 0.5, " ".join(map(str, values.values())))
    return figure


class Elements(HTMLParser):
    """Every element of a piece of HTML: (tag, attributes), and the text of scripts."""

    def __init__(self, text):
        super().__init__()
        self.found, self.scripts, self.inside = [], [], None
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))
        self.inside = tag

    def handle_data(self, data):
        if self.inside == "script":
            self.scripts.append(data)

    def handle_endtag(self, tag):
        self.inside = None

    def all(self, tag):
        return [attributes for name, attributes in self.found if name == tag]


def data_of(shown) -> dict:
    return json.loads(Elements(shown.html).scripts[0])


# In the book


def test_static_explorer_holds_one_frame_and_one_text_for_every_setting(static):
    shown = explorer(draw, alt="width {width}, {kind}", width=[16, 64, 256], kind=["ReLU", "Erf"])
    data = data_of(shown)
    assert len(shown.frames) == len(data["frames"]) == len(data["alts"]) == 6
    assert data["alts"][:3] == ["width 16, ReLU", "width 16, Erf", "width 64, ReLU"]
    assert data["values"] == [["16", "64", "256"], ["ReLU", "Erf"]]
    assert len({frame.uri for frame in shown.frames}) == 6
    assert [uri or Elements(shown.html).all("img")[0]["src"] for uri in data["frames"]] == [
        frame.uri for frame in shown.frames
    ]


def test_static_explorer_starts_at_the_initial_values(static):
    shown = explorer(draw, alt="{a} {b}", initial={"a": 2, "b": "y"}, a=[1, 2, 3], b=["x", "y"])
    page = Elements(shown.html)
    assert page.all("img")[0]["alt"] == "2 y"
    assert page.all("img")[0]["src"] == shown.frames[3].uri
    assert [entry["value"] for entry in page.all("input")] == ["1"]
    assert [entry["value"] for entry in page.all("option") if "selected" in entry] == ["1"]


def test_text_alternative_may_be_a_function_of_the_setting(static):
    shown = explorer(draw, alt=lambda m: f"falls to {m**-0.5:.3f}", m=[4, 16])
    assert [frame.alt for frame in shown.frames] == ["falls to 0.500", "falls to 0.250"]


def test_same_explorer_gives_the_same_page(static):
    pages = {explorer(draw, alt="{m}", m=[1, 2]).html for _ in range(2)}
    assert len(pages) == 1


def test_static_explorer_asks_the_network_for_nothing_and_names_no_id(static):
    shown = explorer(draw, alt="{m}", m=[1, 2])
    assert not re.search(r"https?:|//cdn|require\(|\bid=", shown.html)
    assert repr(shown) == "explorer of m (2 frames)"


def test_hostile_words_stay_words(static):
    shown = explorer(
        draw,
        alt=lambda **values: HOSTILE + str(values),
        title=HOSTILE,
        caption=HOSTILE,
        labels={"kind": HOSTILE},
        kind=[HOSTILE, "plain"],
    )
    page = Elements(shown.html)
    assert [tag for tag, _ in page.found].count("script") == 2
    assert len(page.all("img")) == 1
    assert page.all("img")[0]["alt"].startswith(HOSTILE)
    assert page.all("figure")[0]["aria-label"] == HOSTILE
    assert data_of(shown)["alts"][1].startswith(HOSTILE)
    assert html.escape(HOSTILE) in shown.html


def test_every_control_is_inside_a_label(static):
    shown = explorer(draw, alt="{a} {b}", a=[1, 2], b=["x", "y"])
    labels = re.findall(r"<label>(.*?)</label>", shown.html, re.S)
    assert ["<input" in label or "<select" in label for label in labels] == [True, True]
    assert shown.html.count("<input") + shown.html.count("<select") == 2


def test_widget_of_more_than_60_frames_is_refused_before_anything_is_drawn(static):
    drawn = []
    with pytest.raises(ValueError, match=r"at most 60 frames.*would have 64 \(8 a x 8 b\): list fewer"):
        explorer(lambda **values: drawn.append(values), alt="x", a=range(8), b=range(8))
    assert drawn == []


def test_page_of_more_than_100_frames_is_refused(static):
    explorer(draw, alt="{a}", a=range(60))
    explorer(draw, alt="{a}", a=range(40))
    with pytest.raises(ValueError, match=r"this one has 100 and the explorer .* adds 1: list fewer"):
        explorer(draw, alt="{a}", a=[1])


def test_page_of_too_many_bytes_is_refused(static, monkeypatch):
    monkeypatch.setattr(static_module, "PAGE_BYTES", 600)
    with pytest.raises(ValueError, match="draw plainer figures"):
        explorer(draw, alt="{a}", a=range(10))


def test_sixty_frames_of_curves_fit_a_page(static):
    from ntklab import plotting

    def curves(width):
        x = np.linspace(0, 6, 200)
        figure, axes = plotting.figure()
        for k in range(4):
            axes.plot(x, np.exp(-x / (k + width)), **plotting.series(k), label=f"mode {k}")
        axes.set(xlabel="time (steps)", ylabel="error")
        axes.legend()
        return figure

    shown = explorer(curves, alt="{width}", width=[1, 2])
    assert sum(len(frame.uri) for frame in shown.frames) / 2 * 60 < static_module.PAGE_BYTES


# With a live kernel


def test_live_explorer_opens_with_one_frame(live):
    drawn = []

    def count(**values):
        drawn.append(values)
        return draw(**values)

    explorer(count, alt="{a} {b}", a=range(1, 60), b=range(1, 60))
    assert drawn == [{"a": 1, "b": 1}]


def test_live_slider_draws_a_frame_for_a_value_that_was_not_listed(live):
    drawn = []

    def count(m):
        drawn.append(m)
        return draw(m=m)

    shown = explorer(count, alt="width {m}", m=[16, 64, 256])
    first = shown.picture.value
    between = next(value for value in shown.plan.sliders[0].finer() if 64 < value < 256)
    shown.controls["m"].value = between
    assert drawn == [16, between]
    assert shown.picture.value != first
    assert f'alt="width {between}"' in shown.picture.value
    shown.controls["m"].value = 16
    assert shown.picture.value == first
    assert drawn == [16, between], "a frame that was drawn before is remembered"


def test_live_explorer_shows_the_error_of_the_drawing_function(live):
    def fails(m):
        if m > 1:
            raise ZeroDivisionError("no <b>width</b>")
        return draw(m=m)

    shown = explorer(fails, alt="{m}", m=[1, 2])
    shown.controls["m"].value = 2
    assert 'role="alert"' in shown.picture.value
    assert "ZeroDivisionError: no &lt;b&gt;width&lt;/b&gt;" in shown.picture.value
    shown.controls["m"].value = 1
    assert "<img" in shown.picture.value


def test_live_explorer_is_a_widget_with_a_short_stable_text(live):
    shown = explorer(draw, alt="{m}", m=[1, 2])
    data, _ = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/plain"] == repr(shown) == "explorer of m (live)"


def test_live_explorer_without_ipywidgets_says_what_to_install(live, monkeypatch):
    monkeypatch.setitem(sys.modules, "ipywidgets", None)
    with pytest.raises(ImportError, match=r"pip install 'ntklab\[widgets\]'"):
        explorer(draw, alt="{m}", m=[1])


@pytest.mark.parametrize(
    ("values", "between"),
    [
        ([1.0, 3.0], np.linspace(1, 3, 9)),
        ([0.01, 0.1, 1.0], np.geomspace(0.01, 1, 17)),
        ([0, 8, 16], range(17)),
        ([16, 64], [16, 19, 23, 27, 32, 38, 45, 54, 64]),  # a ratio of 4 in a list of more
        ([1, 2, 3], [1, 2, 3]),
        (["a", "b"], ["a", "b"]),
    ],
)
def test_finer_values_continue_the_listed_spacing(values, between):
    values = [*values, 256] if values == [16, 64] else values
    finer = Slider.of("m", values, "m", {}).finer()
    assert set(values) <= set(finer)
    assert list(finer) == sorted(set(finer), key=list(finer).index)
    assert {type(value) for value in finer} == {type(value) for value in values}
    if isinstance(values[0], str):
        assert list(finer) == between
    else:
        np.testing.assert_allclose(finer[: len(between)], between, rtol=1e-12)


# Both


@pytest.mark.parametrize("mode", ["static", "live"])
def test_no_figure_stays_open_whether_drawing_succeeds_or_fails(mode, request):
    request.getfixturevalue(mode)
    kept = plt.figure()
    before = plt.get_fignums()

    def opens(m):
        figure, _ = plt.subplots()
        if m == 2:
            raise RuntimeError("stop")
        return figure

    try:
        shown = explorer(opens, alt="{m}", m=[1, 2])
        shown.controls["m"].value = 2
    except RuntimeError:
        assert mode == "static"
    assert plt.get_fignums() == before
    assert plt.gcf() is kept
    plt.close(kept)


@pytest.mark.parametrize(
    ("given", "error", "words"),
    [
        ({}, ValueError, "at least one slider"),
        ({"m": []}, ValueError, "m must list at least one value"),
        ({"m": "abc"}, TypeError, "m must be a list of numbers or of words, got 'abc'"),
        ({"m": 3}, TypeError, "m must be a list of numbers or of words, got 3"),
        ({"m": [1, "a"]}, TypeError, "only numbers or only words"),
        ({"m": [True, False]}, TypeError, "only numbers or only words"),
        ({"m": [2, 1]}, ValueError, "m must ascend"),
        ({"m": [1, 1]}, ValueError, "m must ascend"),
        ({"m": ["a", "a"]}, ValueError, "must not repeat"),
        ({"m": [1, float("nan")]}, ValueError, "finite"),
        (
            {"m": [1], "labels": {"n": "x"}},
            ValueError,
            r"labels names \['n'\], but the sliders are \['m",
        ),
        ({"m": [1], "initial": {"m": 2}}, ValueError, "initial m must be one of \\[1\\], got 2"),
        ({"m": [1], "alt": ""}, ValueError, "alt must say something"),
        ({"m": [1], "alt": "{n}"}, ValueError, "alt may hold in braces the sliders \\['m'\\] only"),
        ({"m": [1], "alt": lambda m: " "}, ValueError, "alt at {'m': 1} must say something"),
        ({"m": [1], "draw": 3}, TypeError, "draw must be a function"),
        ({"m": [1], "draw": lambda m: None}, TypeError, "draw must return a matplotlib Figure, got NoneType"),
    ],
)
def test_wrong_arguments_are_named(static, given, error, words):
    given = {"alt": "seen", "draw": draw, **given}
    with pytest.raises(error, match=words):
        explorer(given.pop("draw"), **given)


def test_importing_the_explorer_loads_neither_matplotlib_nor_ipywidgets():
    heavy = {"matplotlib", "ipywidgets", "IPython"}
    code = f"import sys, ntklab.explorer; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
