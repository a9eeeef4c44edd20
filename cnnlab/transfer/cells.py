"""The 2×2 table of transfer learning, measured: little or much data, similar or different."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import nn

from cnnlab.data import ImageSet, digits, patterns
from cnnlab.training import Recipe, evaluate, fit
from cnnlab.transfer.features import extract_features
from cnnlab.transfer.pretrained import (
    SIZE,
    TARGET_SHAPES,
    as_trunk_input,
    load_trunk,
    new_trunk,
)
from cnnlab.transfer.surgery import freeze, head_of, parameter_groups

__all__ = ["CELLS", "STRATEGIES", "CellTable", "adapt", "cell_data", "measure_cells"]

STRATEGIES = ("scratch", "linear probe", "fine-tune the top", "fine-tune all")
LITTLE, MUCH = 5, 100  # images a class
CELLS = {
    "little, similar": (LITTLE, "similar"),
    "little, different": (LITTLE, "different"),
    "much, similar": (MUCH, "similar"),
    "much, different": (MUCH, "different"),
}
ADVICE = {  # deck S003: what the slides say to do
    "little, similar": "finetune linear classifier on top layer",
    "little, different": "you're in trouble",
    "much, similar": "finetune a few layers",
    "much, different": "finetune a larger number of layers",
}
RECIPE = Recipe(batch_size=32, learning_rate=0.02, weight_decay=1e-4, warmup=1)
STEPS = 150  # of every strategy that trains the network


def cell_data(cell: str, seed: int = 0) -> tuple[ImageSet, ImageSet]:
    """Training and test images of one of the four `CELLS`, (N, 3, 16, 16).

    The trunk knows eight drawn shapes. *Similar* are six other shapes, drawn alike; *different*
    are handwritten digits. *Little* is 5 images a class, *much* is 100; the seed says which.
    """
    if cell not in CELLS:
        raise ValueError(f"cell {cell!r} is none of {'; '.join(CELLS)}")
    each, kind = CELLS[cell]
    if kind == "similar":
        classes = TARGET_SHAPES
        train = patterns("train", each * len(classes), SIZE, classes=classes, seed=seed + 1)
        return train, patterns("test", 600, SIZE, classes=classes)
    whole, test = as_trunk_input(digits("train")), as_trunk_input(digits("test"))
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(whole), generator=generator, device="cpu")
    chosen = torch.cat([order[whole.labels[order] == digit][:each] for digit in range(10)])
    train = ImageSet(whole.images[chosen], whole.labels[chosen], whole.classes, whole.name)
    return train, test


def adapt(
    strategy: str,
    train: ImageSet,
    trunk: str = "patterns",
    *,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> nn.Module:
    """A network for the classes of ``train``, made from a trunk by one of the `STRATEGIES`.

    - ``"scratch"``: the trunk's network with fresh weights; all of it learns.
    - ``"linear probe"``: a new head on the frozen trunk, trained on features computed once.
    - ``"fine-tune the top"``: the new head and the last residual block learn.
    - ``"fine-tune all"``: everything learns, the lower the unit the slower.

    All take the same number of steps, so that with little data the epochs are more.

    Raises
    ------
    ValueError
        If there is no such strategy or trunk.
    """
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy {strategy!r} is none of {', '.join(STRATEGIES)}")
    classes, generator = len(train.classes), torch.Generator().manual_seed(seed)
    epochs = max(1, round(STEPS / math.ceil(len(train) / RECIPE.batch_size)))
    gentle = replace(RECIPE, epochs=epochs, seed=seed)
    brisk = replace(gentle, learning_rate=0.1)  # for weights that know nothing yet
    if strategy == "scratch":
        model = new_trunk(classes, generator)
        fit(model, train, brisk, device=device)
        return model
    model = load_trunk(trunk, classes, generator)
    if strategy == "linear probe":
        freeze(model, 1)
        *_, head = head_of(model)
        fit(head, extract_features(model, train, device=device), brisk, device=device)
        return model
    freeze(model, 2 if strategy == "fine-tune the top" else None)
    groups = parameter_groups(model, gentle.learning_rate)
    fit(model, train, gentle, parameters=groups, device=device)
    return model


@dataclass(frozen=True, repr=False)
class CellTable:
    """Test accuracies: ``accuracies[cell][strategy]`` has one for each seed."""

    accuracies: Mapping[str, Mapping[str, Sequence[float]]]

    def __repr__(self) -> str:
        lines = [f"{'':18}" + "".join(f"{name:>20}" for name in STRATEGIES)]
        for cell, row in self.accuracies.items():
            best = max(row, key=lambda name: statistics.mean(row[name]))
            shown = [_spread(row[name]) + ("*" if name == best else " ") for name in STRATEGIES]
            lines.append(f"{cell:18}" + "".join(f"{text:>20}" for text in shown))
        seeds = len(next(iter(next(iter(self.accuracies.values())).values())))
        lines.append(f"test accuracy, {seeds} seed{'s' * (seeds > 1)}; * is the best of its row")
        return "\n".join(lines)

    def plot(self):
        """Bars of the strategies in the four cells, as a `cnnlab.plotting.Picture`."""
        from cnnlab.plotting import COLOURS, Picture, new_figure, style

        colours = ["#777777", *(COLOURS[name] for name in ("sky", "blue", "vermillion"))]
        with style():
            figure = new_figure(10, 6.4)
            grid = figure.subplots(2, 2, sharex=True)
            for axes, (cell, row) in zip(grid.flatten(), self.accuracies.items(), strict=False):
                means = [100 * statistics.mean(row[name]) for name in STRATEGIES]
                spreads = [
                    100 * statistics.stdev(row[name]) if len(row[name]) > 1 else 0
                    for name in STRATEGIES
                ]
                places = range(len(STRATEGIES))[::-1]
                axes.barh(places, means, xerr=spreads, color=colours, height=0.7, ecolor="black")
                for place, mean, spread in zip(places, means, spreads, strict=True):
                    axes.text(mean + spread + 1.5, place, f"{mean:.0f}", va="center", size=14)
                axes.set_yticks(places, STRATEGIES)
                axes.set(title=cell, xlim=(0, 112), xticks=(0, 25, 50, 75, 100))
            for axes in grid[1]:
                axes.set_xlabel("test accuracy, %")
            for axes in grid[:, 1]:
                axes.set_yticklabels([])
            words = [
                f"{cell}: "
                + ", ".join(f"{name} {statistics.mean(row[name]):.0%}" for name in STRATEGIES)
                for cell, row in self.accuracies.items()
            ]
            alt = f"Test accuracy of four strategies in four cells. {'; '.join(words)}."
            return Picture.from_figure(figure, alt)


def _spread(values: Sequence[float]) -> str:
    mean = f"{100 * statistics.mean(values):.1f} %"
    return mean if len(values) < 2 else f"{mean[:-2]} ± {100 * statistics.stdev(values):.1f} %"


def measure_cells(
    seeds: Sequence[int] = (0,),
    *,
    cells: Sequence[str] = tuple(CELLS),
    strategies: Sequence[str] = STRATEGIES,
    device: torch.device | str | None = None,
) -> CellTable:
    """Run the strategies in the four cells; `ADVICE` has what the slides say about each.

    One seed takes under half a minute on two CPU cores.

    Raises
    ------
    ValueError
        If a cell or a strategy is unknown.
    """
    accuracies = {cell: {name: [] for name in strategies} for cell in cells}
    for cell in cells:
        for seed in seeds:
            train, test = cell_data(cell, seed)
            for strategy in strategies:
                model = adapt(strategy, train, seed=seed, device=device)
                score = evaluate(model, test, device=device)
                accuracies[cell][strategy].append(score.accuracy)
    return CellTable(accuracies)
