"""Where a network's memory, parameters and arithmetic sit, layer by layer."""

from cnnlab.cost.render import Table
from cnnlab.plotting.picture import Picture
from cnnlab.plotting.style import COLOURS, new_figure, style

__all__ = ["cost_bars"]

_CHARTS = (  # attribute of a row, title, unit, colour
    ("memory", "memory, KB", 1024, COLOURS["sky"]),
    ("params", "parameters, thousand", 1e3, COLOURS["orange"]),
    ("macs", "MACs, million", 1e6, COLOURS["green"]),
)


@style()
def cost_bars(table: Table) -> Picture:
    """Three bar charts: memory, parameters and MACs of each row that has parameters or MACs.

    Parameters
    ----------
    table
        What `cnnlab.summary` returns, or its ``by_depth(n)`` for a deep network.

    Raises
    ------
    ValueError
        If no row has parameters or MACs, or more than 60 have.
    """
    rows = [row for row in table.rows if row.params or row.macs]
    if not 0 < len(rows) <= 60:
        raise ValueError(f"there are {len(rows)} rows with costs, not 1 to 60: try by_depth(2)")
    names = [row.name for row in rows]
    figure = new_figure(12, 0.31 * len(rows) + 0.9)
    words = []
    for place, (axes, (key, title, unit, colour)) in enumerate(
        zip(figure.subplots(1, 3, sharey=True), _CHARTS, strict=True)
    ):
        values = [getattr(row, key) / unit for row in rows]
        bars = axes.barh(range(len(rows)), values, color=colour)
        axes.bar_label(bars, [_short(value) for value in values], padding=4, fontsize=12)
        axes.set_title(title, loc="left")
        axes.margins(x=0.25, y=0.02)
        axes.xaxis.set_visible(False)
        axes.spines["bottom"].set_visible(False)
        if place == 0:
            axes.set_yticks(range(len(rows)), names, fontsize=13)
            axes.invert_yaxis()
        total, most = sum(values) or 1, max(values)
        words.append(
            f"{title}: most in {names[values.index(most)]}, {_short(most)}, which is "
            f"{100 * most / total:.0f} % of {_short(total)}"
        )
    text = f"Bars for {len(rows)} layers of {table.summary.model_name}. {'; '.join(words)}."
    return Picture.from_figure(figure, text)


def _short(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"
