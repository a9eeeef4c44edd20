"""Ways of putting a trained backbone to use, on the small ones that are shipped."""

import math
from dataclasses import replace

import torch
from torch import nn

from cnnlab.data import ImageSet
from cnnlab.training import Recipe, fit
from cnnlab.transfer.features import extract_features
from cnnlab.transfer.pretrained import load_trunk, new_trunk
from cnnlab.transfer.surgery import freeze, head_of, parameter_groups

__all__ = ["STRATEGIES", "adapt"]

STRATEGIES = ("scratch", "linear probe", "fine-tune the top", "fine-tune all")
RECIPE = Recipe(batch_size=32, learning_rate=0.02, weight_decay=1e-4, warmup=1)
STEPS = 150  # of every strategy that trains the network


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
