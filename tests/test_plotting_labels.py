"""Names beside points: readable, near, and inside."""

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from cnnlab import plotting


def boxes(axes):
    renderer = FigureCanvasAgg(axes.figure).get_renderer()
    axes.figure.draw_without_rendering()
    return {text.get_text(): Text.get_window_extent(text, renderer) for text in axes.texts}


def drawn(points, others=(), scale="linear"):
    axes = plotting.new_figure(8, 5).subplots()
    axes.scatter(*zip(*points.values(), *others, strict=True))
    axes.set(xscale=scale)
    plotting.label_points(axes, points, others)
    return axes


@pytest.mark.parametrize("scale", ["linear", "log"])
def test_names_of_crowded_points_do_not_cover_each_other(scale):
    points = {f"network {n}": (10 + n % 3, 70 + 0.2 * n) for n in range(6)}
    labels = list(boxes(drawn(points, [(1, 60), (100, 80)], scale)).values())
    assert len(labels) == 6
    for n, box in enumerate(labels):
        assert not any(box.overlaps(other) for other in labels[n + 1 :])


def test_names_stay_inside_the_axes():
    axes = drawn({"a rather long name": (0, 0), "another rather long name": (1, 1)})
    for box in boxes(axes).values():
        assert axes.bbox.contains(*box.min) and axes.bbox.contains(*box.max)


def test_a_lonely_point_has_its_name_close_by_without_a_line():
    axes = drawn({"alone": (0.5, 0.5)}, others=[(0, 0), (1, 1)])
    (text,) = axes.texts
    assert text.arrow_patch is None
    x, y = axes.transData.transform((0.5, 0.5))
    assert boxes(axes)["alone"].padded(12).contains(x, y)


def test_names_leave_the_other_points_free():
    others = [(0.5 + 0.02 * n, 0.52) for n in range(1, 8)]  # where the first choice would be
    axes = drawn({"here": (0.5, 0.5)}, others=[*others, (0, 0), (1, 1)])
    box = boxes(axes)["here"]
    assert not any(box.contains(*axes.transData.transform(place)) for place in others)
