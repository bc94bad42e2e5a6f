"""The explorer of a live kernel: ipywidgets, frames on demand, values between the listed ones."""

from __future__ import annotations

import html
import traceback

from ntklab.explorer.sliders import Frame, Plan, Slider, show_value
from ntklab.plotting import inline


class LiveExplorer:
    """Sliders over a picture that is drawn when first asked for and then remembered.

    ``controls`` holds the ipywidgets by slider name, ``picture`` the one that shows the frame.
    """

    def __init__(self, plan: Plan):
        try:
            import ipywidgets
        except ImportError:
            raise ImportError(
                "an explorer in a live notebook needs ipywidgets: pip install 'ntklab[widgets]'"
            ) from None
        self.plan = plan
        self.frames: dict[tuple, Frame] = {}
        self.controls = {slider.name: _control(ipywidgets, slider) for slider in plan.sliders}
        self.picture = ipywidgets.HTML()
        self.status = ipywidgets.HTML()
        around = [ipywidgets.HTMLMath(f"<b>{inline(plan.title)}</b>")] if plan.title else []
        below = [ipywidgets.HTMLMath(inline(plan.caption))] if plan.caption else []
        self.widget = ipywidgets.VBox([*around, *self.controls.values(), self.status, self.picture, *below])
        self.widget.add_class("ntk-explorer-live")
        for control in self.controls.values():
            control.observe(self._show, names="value")
        self._show()

    def __repr__(self) -> str:
        return f"explorer of {', '.join(self.controls)} (live)"

    def _repr_mimebundle_(self, **kwargs):
        bundle = self.widget._repr_mimebundle_(**kwargs)
        data, metadata = bundle if isinstance(bundle, tuple) else (bundle, {})
        return {**data, "text/plain": repr(self)}, metadata

    def _show(self, change=None) -> None:
        setting = {name: control.value for name, control in self.controls.items()}
        key = tuple(setting.values())
        try:
            if key not in self.frames:
                self.status.value = '<span role="status">drawing ...</span>'
                self.frames[key] = self.plan.frame(setting)
            self.picture.value = _picture(self.frames[key])
        except Exception:  # of the reader's own function: shown where the reader looks
            words = html.escape(traceback.format_exc())
            self.picture.value = f'<pre role="alert" style="white-space:pre-wrap">{words}</pre>'
        finally:
            self.status.value = ""


def _control(ipywidgets, slider: Slider):
    start = slider.values[slider.start]
    common = {
        "description": slider.label,
        "value": start,
        "style": {"description_width": "initial"},
        "layout": {"width": "min(100%, 36rem)"},
    }
    if not slider.numeric:
        return ipywidgets.Dropdown(options=slider.values, **common)
    options = [(show_value(value), value) for value in slider.finer()]
    return ipywidgets.SelectionSlider(options=options, continuous_update=False, **common)


def _picture(frame: Frame) -> str:
    return (
        f'<img src="{frame.uri}" alt="{html.escape(frame.alt)}" width="{frame.width}" '
        f'height="{frame.height}" style="max-width:100%;height:auto;background:#fff">'
        '<p aria-live="polite" style="position:absolute;width:1px;height:1px;overflow:hidden;'
        f'clip-path:inset(50%)">{html.escape(frame.alt)}</p>'
    )
