"""What a training run was like, epoch by epoch."""

import csv
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["History"]

MEASURED = ("seconds", "images_per_second")  # differ from run to run, unlike all other columns


@dataclass(repr=False)
class History:
    """One row for each epoch.

    Attributes
    ----------
    epochs : list of dict
        ``epoch`` (from 1), ``learning_rate``, ``train_loss`` and ``train_accuracy`` (means over
        the epoch, while the weights were changing), ``validation_loss`` and
        ``validation_accuracy`` (after it, if there are validation images), ``seconds`` and
        ``images_per_second``. Losses are in nats, accuracies in 0 to 1.
    stopped : str
        Why the run ended before its last epoch, if it did.
    """

    epochs: list[dict[str, float]] = field(default_factory=list)
    stopped: str = ""

    def __getitem__(self, column: str) -> list[float]:
        """One column: ``history["train_loss"]``."""
        if self.epochs and column not in self.epochs[0]:
            raise KeyError(f"no column {column!r}, only {', '.join(self.epochs[0])}")
        return [row[column] for row in self.epochs]

    def __len__(self) -> int:
        return len(self.epochs)

    def __repr__(self) -> str:
        if not self.epochs:
            return "no epoch yet"
        last = self.epochs[-1]
        parts = [
            f"{part} loss {last[f'{part}_loss']:.3f}, accuracy {last[f'{part}_accuracy']:.1%}"
            for part in ("train", "validation")
            if f"{part}_loss" in last
        ]
        stopped = f" ({self.stopped})" if self.stopped else ""
        return f"{len(self)} epochs: {'; '.join(parts)}{stopped}"

    def results(self) -> list[dict[str, float]]:
        """The rows without what the clock measured: equal for two equal runs."""
        return [{k: v for k, v in row.items() if k not in MEASURED} for row in self.epochs]

    def to_csv(self, path: str | Path) -> None:
        """Write the rows to a file, with a header line."""
        with open(path, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, self.epochs[0] if self.epochs else [])
            writer.writeheader()
            writer.writerows(self.epochs)

    def plot(self, title: str = ""):
        """Loss and accuracy over the epochs, as a `cnnlab.plotting.Picture`."""
        from cnnlab.plotting import Picture, new_figure, style

        if not self.epochs:
            raise ValueError("there is no epoch to plot")
        with style():
            figure = new_figure(10, 4)
            for axes, what in zip(figure.subplots(1, 2), ("loss", "accuracy"), strict=True):
                for part, line in (("train", "o-"), ("validation", "s--")):
                    if f"{part}_{what}" in self.epochs[0]:
                        axes.plot(
                            self["epoch"], self[f"{part}_{what}"], line, label=part, markersize=5
                        )
                axes.set(xlabel="epoch", ylabel=what)
                axes.xaxis.get_major_locator().set_params(integer=True)
                axes.legend()
            axes.yaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
            figure.suptitle(title)
            first, last = self.epochs[0], self.epochs[-1]
            words = [
                f"{part} loss from {first[f'{part}_loss']:.3f} to {last[f'{part}_loss']:.3f}, "
                f"accuracy from {first[f'{part}_accuracy']:.1%} to {last[f'{part}_accuracy']:.1%}"
                for part in ("train", "validation")
                if f"{part}_loss" in first
            ]
            alt = f"{title or 'Training'} over {len(self)} epochs: {'; '.join(words)}."
            return Picture.from_figure(figure, alt)
