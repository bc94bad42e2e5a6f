"""Figures: real text alternatives, colours that differ for every reader, pictures that keep their colours."""

import base64
import io
import itertools
import re

import numpy as np
import pytest
from matplotlib import pyplot as plt
from PIL import Image

from ntklab import plotting


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB")).astype(int)


def as_seen(colour, kind: str) -> np.ndarray:
    """Colour as seen with a missing cone type (Vienot, Brettel, Mollon 1999), in linear light."""
    rgb = np.array([int(colour[k : k + 2], 16) / 255 for k in (1, 3, 5)]) ** 2.2
    to_lms = np.array(
        [[17.8824, 43.5161, 4.11935], [3.45565, 27.1554, 3.86714], [0.0299566, 0.184309, 1.46709]]
    )
    lms = to_lms @ rgb
    if kind == "protanopia":
        lms[0] = 2.02344 * lms[1] - 2.52581 * lms[2]
    elif kind == "deuteranopia":
        lms[1] = 0.494207 * lms[0] + 1.24827 * lms[2]
    return np.clip(np.linalg.solve(to_lms, lms), 0, 1) ** (1 / 2.2)


@pytest.mark.parametrize("kind", ["all cones", "protanopia", "deuteranopia"])
def test_first_five_colours_stay_apart_for_every_kind_of_colour_vision(kind):
    seen = [as_seen(colour, kind) for colour in plotting.COLOURS[:5]]
    for one, other in itertools.combinations(seen, 2):
        assert np.linalg.norm(one - other) > 0.1


def test_curves_differ_in_line_style_and_marker_too():
    styles = [plotting.series(k) for k in range(len(plotting.COLOURS))]
    for key in ("color", "linestyle", "marker"):
        assert len({str(style[key]) for style in styles}) == len(styles)
    assert plotting.series(len(styles)) == styles[0]


def test_picture_keeps_the_colours_of_curves_beside_a_heat_map():
    figure, axes = plotting.figure(1, 2)
    for k, colour in enumerate(plotting.COLOURS):
        axes[0].axhspan(k, k + 1, color=colour)
    axes[1].imshow(np.add.outer(np.arange(40.0), np.arange(40.0)))
    picture = pixels(plotting.data_uri(figure)[0])
    for colour in plotting.COLOURS:
        wanted = [int(colour[k : k + 2], 16) for k in (1, 3, 5)]
        nearest = np.abs(picture - wanted).max(-1)
        assert (nearest <= 8).sum() > 2000, colour


def test_a_picture_of_few_colours_keeps_them_all_exactly():
    few = np.random.default_rng(0).integers(0, 256, (30, 4))
    few[:, 3] = 255
    drawn = few[np.random.default_rng(1).integers(0, 30, (200, 300))].astype(np.uint8)
    np.testing.assert_array_equal(np.asarray(plotting._few_colours(drawn, 32)), drawn[..., :3])


def test_a_figure_that_is_drawn_again_shows_what_has_changed():
    figure, axes = plotting.figure()
    (line,) = axes.plot([0, 1])
    before = plotting.data_uri(figure)[0]
    line.set_ydata([1, 0])
    changed = plotting.data_uri(figure)[0]
    line.set_ydata([0, 1])
    assert changed != before == plotting.data_uri(figure)[0]


def test_animated_curves_move_over_the_picture_of_the_rest():
    def draw(values, **animated):
        figure, axes = plotting.figure()
        (line,) = axes.plot(values, color=plotting.COLOURS[1], label="moves", **animated)
        axes.set(ylim=(0, 3), xlabel="step")
        axes.legend(loc="upper left")
        return figure, line

    figure, line = draw([0, 1, 2], animated=True)
    for values in ([0, 1, 2], [2, 0, 1], [0, 1, 2]):
        line.set_ydata(values)
        moved, whole = (pixels(plotting.data_uri(each)[0]) for each in (figure, draw(values)[0]))
        differs = np.abs(moved - whole).max(-1) > 20
        assert differs.mean() < 1e-3  # the line stands above the axes at its ends


def test_text_of_a_figure_is_as_large_on_a_phone_as_small_print():
    plotting.use_style()
    column = 350  # CSS pixels that a 390-pixel phone leaves to a figure
    for key in ("xtick.labelsize", "ytick.labelsize", "axes.labelsize", "legend.fontsize"):
        assert plt.rcParams[key] >= 11
        assert plt.rcParams[key] / 72 / plotting.WIDTH * column >= 9.5


def test_size_is_that_of_the_figure_whatever_the_user_set_for_saved_files():
    figure, axes = plotting.figure(height=2.0)
    axes.plot([0, 1])
    with plt.rc_context({"savefig.bbox": "tight"}):
        uri, width, height = plotting.data_uri(figure)
    assert (width, height) == (640, 200)
    assert pixels(uri).shape == (300, 960, 3)


def test_same_figure_gives_the_same_bytes():
    def uri():
        figure, axes = plotting.figure()
        axes.plot(np.sin(np.arange(30)), **plotting.series(1))
        return plotting.data_uri(figure)[0]

    assert uri() == uri()


def test_show_writes_the_alternative_text_and_closes_the_figure(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", shown.append)
    figure, axes = plt.subplots()
    axes.plot([0, 1])
    plotting.show(figure, 'rises from 0 to 1, "straight" & <steep>', caption="slope $a<b$ & more")
    page = shown[0]._repr_html_()
    assert 'alt="rises from 0 to 1, &quot;straight&quot; &amp; &lt;steep&gt;"' in page
    assert 'loading="lazy"' in page
    assert r'slope <span class="math">\(a&lt;b\)</span> &amp; more' in page
    assert repr(shown[0]) == 'figure: rises from 0 to 1, "straight" & <steep>'
    assert not plt.fignum_exists(figure.number)
    assert not re.search(r"https?:", page)


@pytest.mark.parametrize(
    ("figure", "alt", "error", "words"),
    [
        (None, "seen", TypeError, "figure must be a matplotlib Figure, got NoneType"),
        ("figure", "", ValueError, "alt must say something"),
        ("figure", " \n", ValueError, "alt must say something"),
        ("figure", None, TypeError, "alt must be text, got None"),
    ],
)
def test_show_names_the_argument_that_is_wrong(figure, alt, error, words):
    with pytest.raises(error, match=words):
        plotting.show(plotting.figure()[0] if figure else None, alt)
