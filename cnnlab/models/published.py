"""ImageNet accuracies that one source measured alike for many networks, for comparison plots.

The accuracies are those of the README of https://github.com/Cadene/pretrained-models.pytorch
(one centre crop of the validation set), the table that the slides show, with its two rows that
the slides leave out, ResNet152 and SqueezeNet1_0. They belong to weights of 2016 to 2018: newer
recipes reach more with the same networks.

Networks that stand in this table only (PolyNet, dual path networks, PNASNet, ...) have no
``model`` here; their sizes are those that https://github.com/osmr/imgclsmob reports (``macs`` is
its "FLOPs/2", which also counts some of the cheap operations), where it reports them.
"""

import csv
from importlib.resources import files
from typing import NamedTuple

__all__ = ["PublishedAccuracy", "published_accuracies"]


class PublishedAccuracy(NamedTuple):
    """One row: accuracies in percent, and where to find the network.

    ``model`` is our name for it, from which all its costs can be computed; without one, ``params``,
    ``macs``, ``paper``, ``year`` and ``link`` say what is known.
    """

    name: str
    version: str
    top1: float
    top5: float
    model: str | None
    params: int | None
    macs: int | None
    paper: str
    year: int | None
    link: str


def published_accuracies() -> list[PublishedAccuracy]:
    """The whole table, best first."""
    kinds = {"top1": float, "top5": float, "params": int, "macs": int, "year": int, "model": str}
    text = files("cnnlab.models").joinpath("published.csv").read_text(encoding="utf-8")
    return [
        PublishedAccuracy(
            **{
                key: (kinds[key](value) if value else None) if key in kinds else value
                for key, value in row.items()
            }
        )
        for row in csv.DictReader(text.splitlines())
    ]
