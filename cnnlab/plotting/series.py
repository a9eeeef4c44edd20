"""Lines over epochs and rows of bars: the plots of measured numbers."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from cnnlab.plotting.picture import Picture
from cnnlab.plotting.style import COLOURS, INK, new_figure, style

__all__ = ["bars", "curves"]


@style()
def curves(
    panels: Mapping[str, Mapping[str, Sequence[float]]],
    x: str = "epoch",
    alt: str = "",
    *,
    at: Sequence[float] | None = None,
    percent: bool = False,
    logarithmic: bool = False,
    height: float = 4,
) -> Picture:
    """Lines, in a panel for each quantity: ``{"loss": {"training": [...], "test": [...]}}``.

    Parameters
    ----------
    panels
        Name of each quantity, which labels its axis, and its lines by their names.
    x
        What the horizontal axis counts.
    alt
        What is to be seen, in words. The first and last value of each line are added to it.
    at
        Where the values stand on the horizontal axis. Default: 1, 2, 3, ... for each line.
    percent
        Whether values are shares in 0 to 1, to be written as percentages.
    logarithmic
        Whether the vertical axes are.
    height
        Of the figure, in inches.

    Raises
    ------
    ValueError
        If there is nothing to draw, a line is empty, or has another length than ``at``.
    """
    _check(panels, "line")
    for lines in panels.values():
        for name, values in lines.items():
            if at is not None and len(values) != len(at):
                raise ValueError(
                    f"{name!r} has {len(values)} values, and there are {len(at)} places"
                )
    figure = new_figure(10 if len(panels) > 1 else 8, height)
    for axes, (quantity, lines) in zip(_row(figure, panels), panels.items(), strict=True):
        for name, values in lines.items():
            where = range(1, len(values) + 1) if at is None else at
            axes.plot(where, [*values], label=name)
        axes.set(xlabel=x, ylabel=quantity, yscale="log" if logarithmic else "linear")
        if all(isinstance(place, int) for place in where):
            axes.xaxis.get_major_locator().set_params(integer=True)
        _finish(axes, percent, named=len(lines) > 1)
    words = [
        f"{quantity}, {name}: {_show(values[0], percent)} to {_show(values[-1], percent)}"
        for quantity, lines in panels.items()
        for name, values in lines.items()
    ]
    return Picture.from_figure(figure, f"{alt} From first to last: {'; '.join(words)}.".strip())


@style()
def bars(
    panels: Mapping[str, Sequence[float]],
    alt: str = "",
    *,
    x: str = "",
    y: str = "",
    names: Sequence[str] | None = None,
    lines: Mapping[str, float] | None = None,
    percent: bool = False,
    height: float = 4,
) -> Picture:
    """Bars, a panel for each entry, on one vertical scale.

    Parameters
    ----------
    panels
        Title and heights of each.
    alt
        What is to be seen, in words. The heights are added to it.
    x, y
        Labels of the axes.
    names
        Of the bars. Default: 1, 2, 3, ...
    lines
        A height by a panel's title, to be drawn as a dashed line: what the bars are compared with.
    percent
        Whether heights are shares in 0 to 1, to be written as percentages.
    height
        Of the figure, in inches.

    Raises
    ------
    ValueError
        If there is nothing to draw, a panel is empty, has another number of bars than ``names``,
        or ``lines`` names no panel.
    """
    _check({"": panels}, "panel")
    unknown = {*(lines or {})} - {*panels}
    if unknown:
        raise ValueError(f"lines names {sorted(unknown)}, which are none of {', '.join(panels)}")
    if names is not None:
        for title, values in panels.items():
            if len(values) != len(names):
                raise ValueError(f"{title!r} has {len(values)} bars and {len(names)} names")
    figure = new_figure(10, height)
    colours = [*COLOURS.values()]
    for axes, (title, values), colour in zip(
        _row(figure, panels, sharey=True), panels.items(), colours * len(panels), strict=False
    ):
        places = [*map(str, range(1, len(values) + 1))] if names is None else [*names]
        axes.bar(places, [*values], color=colour)
        if title in (lines or {}):
            axes.axhline(lines[title], color=INK, linestyle="--", linewidth=1.5)
        axes.set(title=title, xlabel=x)
        _finish(axes, percent)
    figure.axes[0].set_ylabel(y)
    words = [
        f"{title}: {', '.join(_show(value, percent) for value in values)}"
        + (f" (dashed line: {_show(lines[title], percent)})" if title in (lines or {}) else "")
        for title, values in panels.items()
    ]
    return Picture.from_figure(figure, f"{alt} {'; '.join(words)}.".strip())


def _check(panels: Mapping[str, Mapping[str, Sequence[float]]], what: str) -> None:
    if not panels or not all(panels.values()):
        raise ValueError(f"there is nothing to draw: no {what}")
    for lines in panels.values():
        for name, values in lines.items():
            if not len(values):
                raise ValueError(f"there is nothing to draw: {name!r} has no values")


def _row(figure: Figure, panels: Mapping, **options) -> list[Axes]:
    return list(figure.subplots(1, len(panels), squeeze=False, **options)[0])


def _finish(axes: Axes, percent: bool, named: bool = False) -> None:
    if percent:
        axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    axes.grid(axis="y", color="#DDDDDD", linewidth=1)
    axes.set_axisbelow(True)
    if named:
        axes.legend()


def _show(value: float, percent: bool) -> str:
    return f"{value:.1%}" if percent else f"{value:.3g}"
