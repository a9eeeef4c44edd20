"""What an experiment gave, beside what it gave on other seeds."""

import csv
import statistics
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from cnnlab.experiments.catalogue import EXPERIMENTS, Bench, Experiment

__all__ = ["Measured", "MeasuredTable", "Outcome", "markdown", "measured", "run"]

TABLE = files("cnnlab.experiments") / "measured.csv"


@dataclass(frozen=True)
class Measured:
    """A variant's value over several seeds.

    Attributes
    ----------
    values : tuple of float
        One for each seed.
    mean, deviation, lowest, highest : float
        Over the seeds; the standard deviation is of one seed, not of the mean.
    seeds : int
        How many.
    """

    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        return statistics.mean(self.values)

    @property
    def deviation(self) -> float:
        return statistics.stdev(self.values)

    @property
    def lowest(self) -> float:
        return min(self.values)

    @property
    def highest(self) -> float:
        return max(self.values)

    @property
    def seeds(self) -> int:
        return len(self.values)


class MeasuredTable(Mapping[str, Measured]):
    """What several seeds gave for each variant of an experiment; shown, it is all of them."""

    def __init__(self, name: str, rows: Mapping[str, Measured]):
        self.name, self._rows = name, rows

    def __getitem__(self, variant: str) -> Measured:
        if variant not in self._rows:
            raise KeyError(f"{self.name} has no {variant!r}, only {', '.join(self)}")
        return self._rows[variant]

    def __iter__(self) -> Iterator[str]:
        return iter(self._rows)

    def __len__(self) -> int:
        return len(self._rows)

    def __repr__(self) -> str:
        experiment = EXPERIMENTS[self.name]
        width, seeds = max(map(len, self)), {row.seeds for row in self.values()}
        count = "–".join(map(str, sorted({min(seeds), max(seeds)})))
        title = f"{experiment.measure}, mean ± standard deviation of {count} seeds"
        lines = [
            f"{variant:{width}}  {experiment.show(row.mean):>7} ± {experiment.show(row.deviation)}"
            for variant, row in self.items()
        ]
        return "\n".join([title, *lines])


@cache
def _table() -> dict[str, dict[str, Measured]]:
    table: dict[str, dict[str, Measured]] = {}
    with TABLE.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            values = tuple(float(value) for value in row["values"].split())
            table.setdefault(row["experiment"], {})[row["variant"]] = Measured(values)
    return table


def measured(name: str) -> MeasuredTable:
    """What `make experiments` measured: for each variant its mean and spread over the seeds.

    Raises
    ------
    ValueError
        If there is no such experiment, or it has not been measured.
    """
    _find(name)
    if name not in _table():
        raise ValueError(f"{name} has not been measured: python -m cnnlab.experiments {name}")
    return MeasuredTable(name, _table()[name])


def markdown() -> str:
    """``docs/experiments.md``: every experiment with its setting, its control and its table."""
    parts = [
        "# The experiments that lectures show\n",
        "What a lecture concludes from an experiment of its own stands on the numbers below: each "
        "with its setting, the control that it is compared with, and several seeds. `make "
        "experiments` runs them again and writes this page (`cnnlab/experiments/catalogue.py` is "
        'the code); `measured("name")` shows a table in a notebook, `run("name", seed=0)` repeats '
        "one seed. A "
        "deviation is of one seed, not of the mean. All ran on a CPU.\n",
    ]
    for name, experiment in EXPERIMENTS.items():
        parts.append(f"## {name}\n\n**{experiment.question}**\n")
        parts.append(f"- *What is said of it*: {experiment.claim}")
        parts.append(f"- *Setting*: {experiment.setting}")
        parts.append(f"- *Control*: {experiment.control}\n")
        parts.append(f"| {experiment.measure} | mean | deviation | seeds |\n|---|---|---|---|")
        for variant, row in measured(name).items():
            cells = experiment.show(row.mean), experiment.show(row.deviation), str(row.seeds)
            parts.append(f"| {variant} | {' | '.join(cells)} |")
        parts.append("")
    return "\n".join(parts)


@dataclass(frozen=True, repr=False)
class Outcome:
    """One run of an experiment.

    Attributes
    ----------
    name : str
        Of the experiment.
    values : dict
        From variant to value.
    seconds : float
        That it took.
    large : bool
        Whether it ran in the larger form of a GPU; the measured table is of the small one.
    """

    name: str
    values: Mapping[str, float]
    seconds: float
    large: bool

    @property
    def experiment(self) -> Experiment:
        return EXPERIMENTS[self.name]

    def __repr__(self) -> str:
        table = measured(self.name)
        width = max(map(len, self.values)) + 2
        seeds = next(iter(table.values())).seeds
        lines = [self.experiment.question, f"{'':{width}}{'this run':>12}{f'{seeds} seeds':>22}"]
        for variant, value in self.values.items():
            other = table[variant]
            spread = f"{self.experiment.show(other.mean)} ± {self.experiment.show(other.deviation)}"
            lines.append(f"{variant:{width}}{self.experiment.show(value):>12}{spread:>22}")
        size = "; this run is larger than those" if self.large else ""
        lines.append(f"{self.experiment.measure}, mean ± standard deviation{size}")
        return "\n".join(lines)

    def plot(self):
        """This run as dots, the other seeds as bars: a `cnnlab.plotting.Picture`."""
        from cnnlab.plotting import COLOURS, Picture, new_figure, style

        table, places = measured(self.name), range(len(self.values))[::-1]
        scale = 100 if self.experiment.percent else 1
        with style():
            figure = new_figure(10, 1.3 + 0.5 * len(self.values))
            axes = figure.subplots()
            axes.use_sticky_edges = False  # a dot at the end of the axis stays whole
            seeds = next(iter(table.values())).seeds
            for place, variant in zip(places, self.values, strict=True):
                other = table[variant]
                low, high = other.mean - other.deviation, other.mean + other.deviation
                if self.experiment.logarithmic:
                    low = max(low, other.mean / 10)
                label = f"{seeds} seeds, mean ± deviation" if place == 0 else None
                axes.barh(
                    place,
                    scale * (high - low),
                    left=scale * low,
                    height=0.26,
                    color=COLOURS["sky"],
                    label=label,
                )
                axes.plot(scale * other.mean, place, "|", color="black", markersize=14)
            values = [scale * value for value in self.values.values()]
            axes.plot(values, list(places), "o", color=COLOURS["vermillion"], label="this run")
            axes.set_yticks(list(places), list(self.values))
            axes.set_ylim(-0.6, len(self.values) - 0.4)
            axes.set_xlabel(self.experiment.measure + (", %" if self.experiment.percent else ""))
            if self.experiment.logarithmic:
                axes.set_xscale("log")
            axes.grid(axis="x", color="#DDDDDD", linewidth=1)
            axes.set_axisbelow(True)
            figure.legend(loc="outside upper right", ncols=2)
            show = self.experiment.show
            words = [
                f"{variant} {show(value)} (others {show(table[variant].mean)} ± "
                f"{show(table[variant].deviation)})"
                for variant, value in self.values.items()
            ]
            alt = f"{self.experiment.question} {self.experiment.measure}: {'; '.join(words)}."
            return Picture.from_figure(figure, alt)


def run(name: str, seed: int = 0, bench: Bench | None = None) -> Outcome:
    """Run one of the `EXPERIMENTS`: about ten seconds on two CPU cores, larger on a GPU.

    Raises
    ------
    ValueError
        If there is no such experiment.
    """
    experiment, bench = _find(name), bench or Bench.here()
    start = time.perf_counter()
    values = experiment.run(seed, bench)
    return Outcome(name, values, time.perf_counter() - start, bench.scale > 1)


def _find(name: str) -> Experiment:
    if name not in EXPERIMENTS:
        raise ValueError(f"experiment {name!r} is none of {', '.join(EXPERIMENTS)}")
    return EXPERIMENTS[name]
