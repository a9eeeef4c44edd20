"""The house style: colours that colour-blind people tell apart, type that a projector shows."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from types import MappingProxyType

import matplotlib
from cycler import cycler
from matplotlib.figure import Figure

__all__ = ["COLOURS", "GRAY", "SEQUENTIAL", "SIGNED", "new_figure", "style"]

# Okabe and Ito, "Color Universal Design", 2008: https://jfly.uni-koeln.de/color/
COLOURS: Mapping[str, str] = MappingProxyType(
    {
        "blue": "#0072B2",
        "vermillion": "#D55E00",
        "green": "#009E73",
        "purple": "#CC79A7",
        "orange": "#E69F00",
        "sky": "#56B4E9",
        "yellow": "#F0E442",
        "black": "#000000",
    }
)
GRAY = "gray"  # pictures: black is the smallest value
SEQUENTIAL = "viridis"  # values that start at zero
SIGNED = "RdBu_r"  # values around zero: blue below, white at zero, red above

INK = "#222222"
# lines differ in more than colour
_DASHES = ["-", "--", "-.", ":", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2, 2, 2))]
_STYLE = {
    "font.size": 15,
    "axes.titlesize": 16,
    "axes.labelsize": 15,
    "xtick.labelsize": 14,
    "ytick.labelsize": 14,
    "legend.fontsize": 14,
    "legend.frameon": False,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": cycler(color=list(COLOURS.values())) + cycler(linestyle=_DASHES),
    "axes.unicode_minus": True,
    "lines.linewidth": 2.5,
    "lines.markersize": 8,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "svg.hashsalt": "cnnlab",
}


def style() -> AbstractContextManager:
    """The house style while a figure is drawn: ``with style(): ...``, or ``@style()``."""
    return matplotlib.rc_context(_STYLE)


def new_figure(width: float = 10, height: float = 4) -> Figure:
    """An empty figure in the house style, in inches; 10 inches are 1,000 pixels on the page.

    It is not known to pyplot: nothing shows it twice and nothing has to close it.
    """
    with style():
        return Figure(figsize=(width, height))
