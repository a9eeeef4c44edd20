"""Curves and bars: drawn where the numbers are, and their words carry the numbers."""

import pytest
from matplotlib.figure import Figure

from cnnlab.plotting import Picture, bars, curves

LOSSES = {"loss": {"training": [2.0, 0.5], "test": [2.1, 0.75]}}


@pytest.fixture
def drawn(monkeypatch) -> list[Figure]:
    """The figures that become pictures."""
    figures, make = [], Picture.from_figure

    def spy(figure, alt):
        figures.append(figure)
        return make(figure, alt)

    monkeypatch.setattr(Picture, "from_figure", spy)
    return figures


def test_curves_have_a_panel_for_each_quantity_and_a_line_for_each_name(drawn):
    picture = curves(LOSSES | {"accuracy": {"test": [0.25, 0.875, 0.9]}}, alt="A net.")
    left, right = drawn[0].axes
    assert (left.get_ylabel(), right.get_ylabel()) == ("loss", "accuracy")
    assert left.get_xlabel() == "epoch"
    lines = {line.get_label(): [*line.get_xdata(), *line.get_ydata()] for line in left.lines}
    assert lines == {"training": [1, 2, 2.0, 0.5], "test": [1, 2, 2.1, 0.75]}
    assert left.get_legend() and not right.get_legend()
    assert picture.alt == (
        "A net. From first to last: loss, training: 2 to 0.5; loss, test: 2.1 to 0.75; "
        "accuracy, test: 0.25 to 0.9."
    )


def test_curves_stand_where_they_are_told(drawn):
    picture = curves({"error": {"plain": [0.5, 0.25]}}, "depth", at=[20, 56], percent=True)
    (line,) = drawn[0].axes[0].lines
    assert [*line.get_xdata()] == [20, 56]
    assert picture.alt == "From first to last: error, plain: 50.0% to 25.0%."
    curves(LOSSES, logarithmic=True)
    assert drawn[1].axes[0].get_yscale() == "log"


def test_bars_share_a_scale_and_carry_a_line(drawn):
    picture = bars({"plain": [0.1], "residual": [0.9, 0.8]}, "Cut.", lines={"plain": 0.95})
    left, right = drawn[0].axes
    assert [patch.get_height() for patch in right.patches] == [0.9, 0.8]
    assert left.get_ylim() == right.get_ylim()
    assert len(left.lines) == 1 and not right.lines
    assert picture.alt == "Cut. plain: 0.1 (dashed line: 0.95); residual: 0.9, 0.8."


@pytest.mark.parametrize(
    ("draw", "sentence"),
    [
        (lambda: curves({}), "there is nothing to draw: no line"),
        (lambda: curves({"loss": {}}), "there is nothing to draw: no line"),
        (lambda: curves({"loss": {"test": []}}), "'test' has no values"),
        (lambda: curves(LOSSES, at=[1]), "'training' has 2 values, and there are 1 places"),
        (lambda: bars({}), "there is nothing to draw: no panel"),
        (lambda: bars({"a": [1]}, lines={"b": 2}), r"lines names \['b'\], which are none of a"),
        (lambda: bars({"a": [1, 2]}, names=["x"]), "'a' has 2 bars and 1 names"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(draw, sentence):
    with pytest.raises(ValueError, match=sentence):
        draw()
