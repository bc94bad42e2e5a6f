"""Explorers: a plotting function under sliders, the same in a built page and in a live notebook."""

from ntklab.explorer.make import explorer

__all__ = ["explorer"]
