"""Names beside points, where they do not cover each other."""

from collections.abc import Iterable, Mapping
from itertools import product

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.transforms import Bbox

from cnnlab.plotting.style import INK

__all__ = ["label_points"]

_SIDES = [(1, 1), (-1, 1), (1, -1), (-1, -1), (0, 1), (0, -1), (1, 0), (-1, 0)]
_DISTANCES = (7, 18, 32, 48, 66)  # points
_NEAR = 4  # points around a marker's centre that a name should leave free


def label_points(
    axes: Axes,
    points: Mapping[str, tuple[float, float]],
    others: Iterable[tuple[float, float]] = (),
    size: float = 12,
) -> None:
    """Write each point's name beside it, joined by a thin line where there is no room near.

    Names avoid each other, all points, and the edge of the axes, as far as that can be done.
    Call it last: scales, limits and legends must not change any more.

    Parameters
    ----------
    axes
        Where the points are drawn.
    points
        Name and place ``(x, y)`` of each, in the axes' own units.
    others
        Places of points without a name.
    size
        Of the letters, in points.
    """
    figure = axes.figure
    renderer = FigureCanvasAgg(figure).get_renderer()
    figure.draw_without_rendering()  # the layout moves the axes to their final place
    dot = figure.dpi / 72
    centres = {name: axes.transData.transform(place) for name, place in points.items()}
    crowd = [*centres.values(), *(axes.transData.transform(place) for place in others)]
    taken = [Bbox.from_extents(x, y, x, y).padded(_NEAR * dot) for x, y in crowd]
    legend = axes.get_legend()
    taken += [legend.get_window_extent(renderer)] if legend else []
    for name, centre in centres.items():
        text = axes.annotate(name, points[name], fontsize=size)
        extent = text.get_window_extent(renderer)
        text.remove()
        options = [
            (distance, _beside(centre, extent, side, distance * dot))
            for distance, side in product(_DISTANCES, _SIDES)
        ]
        costs = [
            distance * dot + _cost(box.padded(dot), taken, axes.bbox) for distance, box in options
        ]
        distance, box = options[costs.index(min(costs))]
        taken.append(box)
        start = ((box.x0 - centre[0]) / dot, (box.y0 - centre[1]) / dot)
        line = {"arrowstyle": "-", "color": INK, "lw": 0.7, "shrinkA": 0, "shrinkB": 2}
        axes.annotate(
            name,
            points[name],
            xytext=start,
            textcoords="offset points",
            fontsize=size,
            arrowprops=line if distance > _DISTANCES[0] else None,
        )


def _beside(centre, extent: Bbox, side: tuple[int, int], distance: float) -> Bbox:
    """A box of the extent's size on this side of the centre, in pixels."""
    x, y = (
        at + distance * way + (way - 1) / 2 * length
        for at, way, length in zip(centre, side, (extent.width, extent.height), strict=True)
    )
    return Bbox.from_bounds(x, y, extent.width, extent.height)


def _cost(box: Bbox, taken: list[Bbox], inside: Bbox) -> float:
    """How bad a place is: the covered area in pixels, and a lot for leaving the axes."""
    covered = [Bbox.intersection(box, other) for other in taken]
    area = sum(both.width * both.height for both in covered if both is not None)
    return area + 1e4 * (not (inside.contains(*box.min) and inside.contains(*box.max)))
