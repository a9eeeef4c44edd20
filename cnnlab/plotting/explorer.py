"""Knobs beside a picture: turned live where widgets run, a still picture where they don't."""

import html
import os
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

import torch

from cnnlab.plotting.convolution import Slide, draw_step
from cnnlab.plotting.grids import plane
from cnnlab.plotting.picture import Picture
from cnnlab.shapes import explain

__all__ = ["Explorer", "explore_convolution"]


class Explorer:
    """A picture with knobs; as the last line of a cell it shows itself.

    Where ipywidgets runs, every turn of a knob draws the picture anew. What is stored with the
    notebook is the picture as it opens, so GitHub, a PDF or a printed page show that one.
    With the environment variable ``CNNLAB_WIDGETS=off`` (``make lectures`` sets it, because
    a stored widget is dead) or without ipywidgets it is shown here too.

    Parameters
    ----------
    draw
        Makes the picture: ``draw(**values) -> Picture``. Its ``ValueError`` is shown as a sentence.
    knobs
        Name and allowed values of each, e.g. ``{"stride": range(1, 4), "mode": ["max", "mean"]}``.
    **opening
        The value with which each knob opens; default: its first.

    Raises
    ------
    ValueError
        If an opening value is not among its knob's, or names no knob.
    """

    def __init__(self, draw: Callable[..., Picture], knobs: Mapping[str, Sequence], **opening):
        for name, value in opening.items():
            if name not in knobs:
                raise ValueError(f"{name!r} is none of the knobs {', '.join(knobs)}")
            if value not in knobs[name]:
                raise ValueError(f"{name} {value!r} is none of {', '.join(map(str, knobs[name]))}")
        self.draw, self.knobs = draw, dict(knobs)
        self.opening = {name: values[0] for name, values in knobs.items()} | opening

    @property
    def picture(self) -> Picture:
        """The picture as it opens."""
        return self.draw(**self.opening)

    def widget(self):
        """The live explorer, an `ipywidgets.VBox` of the knobs above the picture."""
        import ipywidgets

        controls = {}
        for name, values in self.knobs.items():
            kind = ipywidgets.Dropdown if isinstance(values[0], str) else ipywidgets.SelectionSlider
            controls[name] = kind(
                options=list(values),
                value=self.opening[name],
                description=name.replace("_", " "),
                style={"description_width": "7em"},
                layout={"width": "24em"},
            )
        screen = ipywidgets.HTML(layout={"width": "100%"})  # so that the picture fits the page

        def redraw(_=None):
            try:
                screen.value = self.draw(**{n: c.value for n, c in controls.items()}).to_html()
            except ValueError as error:
                screen.value = (
                    f"<p role='alert'><b>This cannot be:</b> {html.escape(str(error))}</p>"
                )

        for control in controls.values():
            control.observe(redraw, names="value")
        redraw()
        knobs = ipywidgets.HBox(list(controls.values()), layout={"flex_flow": "row wrap"})
        return ipywidgets.VBox([knobs, screen], layout={"width": "100%"})

    def _ipython_display_(self) -> None:
        live = {}
        if os.environ.get("CNNLAB_WIDGETS") != "off":
            with suppress(ImportError):
                live = self.widget()._repr_mimebundle_()
                del live["text/plain"]
        self.picture._ipython_display_(live)


FILTERS: Mapping[str, Callable[[int], torch.Tensor]] = {
    "vertical edge": lambda size: _ramp(size).repeat(size, 1),
    "horizontal edge": lambda size: _ramp(size).repeat(size, 1).T,
    "sum": lambda size: torch.ones(size, size),
}


def _ramp(size: int) -> torch.Tensor:
    """1 left of the middle, 0 in it, −1 right of it; a single pixel is kept as it is."""
    return torch.ones(1) if size == 1 else torch.sign((size - 1) / 2 - torch.arange(size))


def explore_convolution(image, **opening) -> Explorer:
    """Slide a filter over a small image and turn its knobs, with the arithmetic beside it.

    Parameters
    ----------
    image
        Matrix (H, W), at most about 8×8 to remain readable.
    **opening
        Values to open with: ``filter`` ("vertical edge", "horizontal edge" or "sum"),
        ``kernel_size``, ``stride``, ``padding``, ``dilation``, ``row`` and ``column`` of the
        output cell (beyond the last one, the last one is shown).
    """

    def draw(filter, kernel_size, stride, padding, dilation, row, column):
        size = str(explain(len(plane(image)), kernel_size, stride, padding, dilation))
        slide = Slide(image, FILTERS[filter](kernel_size), stride, padding, dilation)
        last_row, last_column = slide.cells[-1]
        at = min(row, last_row), min(column, last_column)
        words = f"{slide.in_words(*at)} Its size: {' '.join(size.split())}."
        return Picture.from_figure(draw_step(slide, *at, footer=size), words)

    knobs = {
        "filter": list(FILTERS),
        "kernel_size": range(1, 6),
        "stride": range(1, 4),
        "padding": range(3),
        "dilation": range(1, 4),
        "row": range(8),
        "column": range(8),
    }
    return Explorer(draw, knobs, **({"kernel_size": 3, "padding": 1} | opening))
