"""Figures that stay legible on a phone, in dark mode and without colour vision, each with a text alternative.

from ntklab import plotting

fig, ax = plotting.figure()
ax.plot(widths, drift, **plotting.series(0), label="NTK scaling")
plotting.show(fig, alt="Kernel drift falls as width grows, slope -1/2 on log axes.")
"""

from __future__ import annotations

import base64
import html
import io
import re
import weakref

import numpy as np

# M. Okabe, K. Ito, "Color Universal Design" (2008), ordered by contrast on white, without yellow.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINES = ("-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)))
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

WIDTH = 6.4  # inches, of the text column
DPI = 150  # 960 pixels a column: more than two a CSS pixel on a phone
PALETTES = (
    128,
    32,
)  # colours kept in the stored picture, antialiasing included; the second where it is large
LARGE = 30_000  # bytes

_STILL = weakref.WeakKeyDictionary()  # canvas: its picture without what moves

_STYLE = {
    "figure.figsize": (WIDTH, 3.8),
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.constrained_layout.use": True,
    "font.size": 14,
    "axes.titlesize": 15,
    "axes.labelsize": 14,
    "xtick.labelsize": 13,
    "ytick.labelsize": 13,
    "legend.fontsize": 13,
    "legend.frameon": False,
    "lines.linewidth": 2.2,
    "lines.markersize": 6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.8,
    "axes.axisbelow": True,
    "image.cmap": "cividis",
    "mathtext.fontset": "dejavusans",
}


def use_style() -> None:
    """Make the course's style the default of every matplotlib figure drawn from here on."""
    import matplotlib
    from cycler import cycler

    matplotlib.rcParams.update(_STYLE)
    matplotlib.rcParams["axes.prop_cycle"] = cycler(color=COLOURS) + cycler(linestyle=LINES)


def figure(rows: int = 1, columns: int = 1, *, width: float = WIDTH, height: float | None = None, **subplots):
    """A figure in the course's style (made the default, see ``use_style``) that pyplot does not hold on to.

    Args:
        rows, columns: the grid of axes.
        width, height: of the whole figure in inches; the height defaults to 3.8 for one row and 3.0 a row
            for more.
        subplots: passed on to ``Figure.subplots`` (``sharex``, ``gridspec_kw``, ...).

    Returns ``(figure, axes)`` like ``matplotlib.pyplot.subplots``.
    """
    from matplotlib.figure import Figure

    use_style()
    if height is None:
        height = 3.8 if rows == 1 else 3.0 * rows
    fig = Figure(figsize=(width, height))
    return fig, fig.subplots(rows, columns, **subplots)


def series(k: int) -> dict:
    """Colour, line style and markers of the k-th curve, which differ in all three."""
    k %= len(COLOURS)
    return {"color": COLOURS[k], "linestyle": LINES[k], "marker": MARKERS[k], "markevery": 0.12}


def show(figure, alt: str, caption: str | None = None) -> None:
    """Display a matplotlib figure with its text alternative, then close it.

    Args:
        figure: a ``matplotlib.figure.Figure``.
        alt: what is seen, in words; required and not empty.
        caption: a line under the figure; ``$...$`` is set as mathematics.

    Raises:
        TypeError: ``figure`` is no matplotlib figure, ``alt`` or ``caption`` no text.
        ValueError: ``alt`` is empty.
    """
    from IPython.display import display

    display(_Shown(figure, text("alt", alt), caption))


# the theme puts HTML outputs on a light card in dark mode; here only the picture is one
_ON_DARK = (
    "html[data-theme=dark] .bd-content div.cell_output .text_html:has(> figure.ntk-figure)"
    "{background:none;color:inherit;padding:0}"
)


class _Shown:
    """What ``show`` hands to the notebook: HTML for readers, one stable line for tests."""

    def __init__(self, figure, alt: str, caption: str | None):
        uri, width, height = data_uri(figure)
        close(figure)
        below = ""
        if caption is not None:
            words = inline(text("caption", caption))
            plain_style = "color:inherit;font-family:inherit;font-weight:400;text-align:left"
            below = f'<figcaption style="{plain_style}">{words}</figcaption>'
        self._html = (
            f"<style>{_ON_DARK}</style>"
            '<figure class="ntk-figure" style="margin:1rem 0">'
            f'<img src="{uri}" alt="{html.escape(alt)}" width="{width}" height="{height}" loading="lazy" '
            'style="max-width:100%;height:auto;padding:0;border-radius:.4rem;background:#fff">'
            f"{below}</figure>"
        )
        self._alt = alt

    def __repr__(self) -> str:
        return f"figure: {self._alt}"

    def _repr_html_(self) -> str:
        return self._html


def data_uri(figure) -> tuple[str, int, int]:
    """The figure as a WebP data URI, with its width and height in CSS pixels.

    Artists with ``animated=True`` are drawn over a picture of all others that is drawn once for a figure.
    An explorer whose frames share one figure, and move such artists only, takes a fraction of the time.
    """
    from matplotlib.figure import Figure

    if not isinstance(figure, Figure):
        raise TypeError(f"figure must be a matplotlib Figure, got {type(figure).__name__}")
    drawn = _pixels(figure)
    for colours in PALETTES:
        small = io.BytesIO()
        image = _few_colours(drawn, colours)
        image.save(small, format="WEBP", lossless=True, quality=50, method=2)
        if small.tell() <= LARGE:
            break
    encoded = base64.b64encode(small.getvalue()).decode("ascii")
    width, height = (round(side * 100 / DPI) for side in image.size)
    return f"data:image/webp;base64,{encoded}", width, height


def _pixels(figure) -> np.ndarray:
    """The drawn figure, (height, width, RGBA), opaque."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure.set_dpi(DPI)
    reused = type(figure.canvas) is FigureCanvasAgg  # its renderer remembers the size of every text
    canvas = figure.canvas if reused else FigureCanvasAgg(figure)
    moving = [artist for axes in figure.axes for artist in axes.get_children() if artist.get_animated()]
    if moving and canvas in _STILL:
        canvas.restore_region(_STILL[canvas])
    else:
        canvas.draw()  # savefig would draw twice
        if moving:
            _STILL[canvas] = canvas.copy_from_bbox(figure.bbox)
    for artist in sorted(moving, key=lambda artist: artist.get_zorder()):
        artist.axes.draw_artist(artist)
    pixels = np.array(canvas.buffer_rgba())
    pixels[..., 3] = 255
    return pixels


def _few_colours(drawn: np.ndarray, colours: int):
    """The picture (height, width, RGBA), opaque, in so many colours as a PIL image.

    Median cut over the list of the picture's colours, each as often as its share of the area says: a
    figure has about a thousand of them and a million pixels.
    """
    from PIL import Image

    size = drawn.shape[1::-1]
    found = (
        Image.frombuffer("RGBX", size, drawn, "raw", "RGBX", 0, 1)
        .convert("RGB")
        .getcolors(len(drawn) * size[0])
    )
    counts, exact = (np.array(part) for part in zip(*found, strict=True))
    repeats = 1 + counts * 20_000 // counts.sum()
    listed = Image.fromarray(np.repeat(exact, repeats, axis=0)[None].astype(np.uint8))
    few = np.asarray(listed.quantize(colours, dither=Image.Dither.NONE).convert("RGB"))[
        0, np.cumsum(repeats) - 1
    ]

    def codes(rgb):
        return np.pad(rgb.astype(np.uint8), ((0, 0), (0, 1)), constant_values=255).view("<u4")[:, 0]

    order = np.argsort(codes(exact))
    place = np.searchsorted(codes(exact)[order], drawn.view("<u4")[..., 0])
    return Image.frombuffer("RGBX", size, codes(few)[order][place], "raw", "RGBX", 0, 1).convert("RGB")


def close(figure) -> None:
    """Let pyplot forget the figure, if it ever knew it."""
    import matplotlib.pyplot as plt

    plt.close(figure)


def text(name: str, value) -> str:
    """Non-empty text, else TypeError or ValueError that names the argument."""
    if not isinstance(value, str):
        raise TypeError(f"{name} must be text, got {value!r}")
    if not value.strip():
        raise ValueError(f"{name} must say something, got {value!r}")
    return value.strip()


def inline(words: str) -> str:
    """Text as HTML, with ``$...$`` marked as mathematics for MathJax."""
    pieces = re.split(r"\$([^$]+)\$", words)
    pieces[0::2] = [html.escape(piece) for piece in pieces[0::2]]
    pieces[1::2] = [rf'<span class="math">\({html.escape(piece)}\)</span>' for piece in pieces[1::2]]
    return "".join(pieces)


def plain(words: str) -> str:
    """Text without dollar signs and TeX's backslashes, for places that hold no markup."""
    return re.sub(r"\$([^$]+)\$", lambda match: match[1].replace("\\", ""), words)
