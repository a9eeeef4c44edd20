"""Recipes: everything about a training run that changes what is computed."""

from collections.abc import Iterable
from dataclasses import dataclass, fields, replace

import torch
from torch import nn
from torch.optim import lr_scheduler

from cnnlab.data.augment import Augmentation, augmentation

__all__ = ["RECIPES", "Recipe", "get_recipe"]

OPTIMIZERS = ("sgd", "adam", "adamw")
SCHEDULES = ("constant", "step", "plateau", "cosine")


@dataclass(frozen=True)
class Recipe:
    """What a training run computes. On which machine, and how fast, is `fit`'s own business.

    Attributes
    ----------
    epochs : int
        Passes over the training set.
    batch_size : int
        Images a batch.
    learning_rate : float
        At the start.
    optimizer : {"sgd", "adam", "adamw"}
        SGD has momentum.
    momentum, weight_decay : float
        As torch's optimizers take them.
    schedule : {"constant", "step", "plateau", "cosine"}
        ``step`` multiplies the learning rate by ``factor`` after each epoch of ``milestones``;
        ``plateau`` when the validation loss (without validation images, the training loss) has
        not improved for ``patience`` epochs; ``cosine`` lets it fall to 0 over the run.
    milestones : tuple of int
        Of the step schedule, in epochs.
    factor : float
        Of the step and plateau schedules.
    patience : int
        Of the plateau schedule, in epochs.
    warmup : int
        The learning rate rises linearly over this many epochs first (not with plateau).
    label_smoothing : float
        Share of the target that goes to all classes alike.
    aux_weight : float
        Weight of each auxiliary head's loss, where the network has such heads: 0.3 in GoogLeNet
        (section 5).
    clip_norm : float, optional
        The gradient is scaled down where its norm is larger.
    accumulate : int
        Batches whose gradients are averaged before a step is taken.
    augment : str or callable, optional
        One of `cnnlab.data.AUGMENTATIONS`, or a function of a batch (N, C, H, W); acts on
        training images only.
    early_stop : int, optional
        Stop when the validation loss has not improved for this many epochs, and go back to the
        best weights.
    seed : int
        Of the order of the images, dropout and augmentation. The weights are the model's own.
    source : str
        Where the recipe is published.
    """

    epochs: int = 10
    batch_size: int = 64
    learning_rate: float = 0.05
    optimizer: str = "sgd"
    momentum: float = 0.9
    weight_decay: float = 0.0
    schedule: str = "cosine"
    milestones: tuple[int, ...] = ()
    factor: float = 0.1
    patience: int = 5
    warmup: int = 0
    label_smoothing: float = 0.0
    aux_weight: float = 0.3
    clip_norm: float | None = None
    accumulate: int = 1
    augment: str | Augmentation | None = None
    early_stop: int | None = None
    seed: int = 0
    source: str = ""

    def __post_init__(self):
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer {self.optimizer!r} is none of {', '.join(OPTIMIZERS)}")
        if self.schedule not in SCHEDULES:
            raise ValueError(f"schedule {self.schedule!r} is none of {', '.join(SCHEDULES)}")
        for name in ("epochs", "batch_size", "accumulate", "patience"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} {getattr(self, name)} is below 1")
        if self.learning_rate <= 0:
            raise ValueError(f"learning_rate {self.learning_rate} is not above 0")
        if self.schedule == "step" and not self.milestones:
            raise ValueError("the step schedule needs milestones, such as milestones=(30, 60)")
        if self.warmup and self.schedule == "plateau":
            raise ValueError("warmup does not go with the plateau schedule")
        augmentation(self.augment)

    def make_optimizer(self, parameters: Iterable, fused: bool) -> torch.optim.Optimizer:
        """The optimizer over tensors, or over groups with learning rates of their own."""
        options = {"lr": self.learning_rate, "weight_decay": self.weight_decay, "fused": fused}
        if self.optimizer == "sgd":
            return torch.optim.SGD(parameters, momentum=self.momentum, **options)
        kind = torch.optim.Adam if self.optimizer == "adam" else torch.optim.AdamW
        return kind(parameters, **options)

    def make_scheduler(self, optimizer: torch.optim.Optimizer, steps: int):
        """The schedule; ``plateau`` is told the loss each epoch, the others step each batch.

        ``steps`` is how many optimizer steps an epoch has.
        """
        if self.schedule == "plateau":
            return lr_scheduler.ReduceLROnPlateau(
                optimizer, factor=self.factor, patience=self.patience
            )
        warmup, total = self.warmup * steps, self.epochs * steps
        if self.schedule == "step":
            milestones = [epoch * steps - warmup for epoch in self.milestones]
            main = lr_scheduler.MultiStepLR(optimizer, milestones, self.factor)
        elif self.schedule == "cosine":
            main = lr_scheduler.CosineAnnealingLR(optimizer, max(total - warmup, 1))
        else:
            main = lr_scheduler.ConstantLR(optimizer, factor=1.0)
        if not warmup:
            return main
        rise = lr_scheduler.LinearLR(optimizer, 1 / warmup, total_iters=warmup)
        return lr_scheduler.SequentialLR(optimizer, [rise, main], [warmup])

    def settings(self) -> dict:
        """All fields that determine the result, for comparison with a checkpoint's."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "source"}
        return values | {"augment": getattr(self.augment, "__qualname__", repr(self.augment))}


RECIPES: dict[str, Recipe] = {
    "quick": Recipe(
        epochs=12,
        batch_size=32,
        learning_rate=0.002,
        optimizer="adam",
        source="Found here: small networks on the digits and the patterns, in seconds.",
    ),
    "alexnet": Recipe(
        epochs=90,
        batch_size=128,
        learning_rate=0.01,
        weight_decay=5e-4,
        schedule="plateau",
        source="Krizhevsky et al. 2012, section 5 (roughly 90 cycles; the rate was divided by 10 "
        "by hand, three times, when the validation error stopped improving). Its images are cut "
        "and mirrored at random and their colours shifted (section 4.1): "
        "cnnlab.data.image_folder(..., augment=True).",
    ),
    "resnet": Recipe(
        epochs=120,
        batch_size=256,
        learning_rate=0.1,
        weight_decay=1e-4,
        schedule="plateau",
        source="He et al. 2016, section 3.4: up to 60e4 iterations, which are 120 passes over "
        "ImageNet. Slides print the weight decay as 1e-5 (facts S000-122, S001-099, S003-056): "
        "an erratum.",
    ),
    "resnet_cifar": Recipe(
        epochs=182,
        batch_size=128,
        learning_rate=0.1,
        weight_decay=1e-4,
        schedule="step",
        milestones=(91, 136),
        augment="shift_flip",
        source="He et al. 2016, section 4.2: 64k iterations on 45,000 images, the rate divided "
        "by 10 at 32k and 48k. Its ResNet-110 warms up at 0.01 first.",
    ),
}


def get_recipe(name: str, **changes) -> Recipe:
    """A recipe by name, with some settings changed: ``get_recipe("resnet", epochs=3)``.

    Raises
    ------
    ValueError
        If the name or a setting is unknown.
    """
    if name not in RECIPES:
        raise ValueError(f"recipe {name!r} is none of {', '.join(RECIPES)}")
    known = {field.name for field in fields(Recipe)}
    for change in changes:
        if change not in known:
            raise ValueError(f"a recipe has no {change!r}, only {', '.join(sorted(known))}")
    return replace(RECIPES[name], **changes)


def classification_loss(output, labels: torch.Tensor, recipe: Recipe) -> torch.Tensor:
    """Cross entropy, plus that of the auxiliary heads if the output is a tuple of several."""
    main, *heads = output if isinstance(output, tuple) else (output,)
    loss = nn.functional.cross_entropy(main, labels, label_smoothing=recipe.label_smoothing)
    for head in heads:
        loss = loss + recipe.aux_weight * nn.functional.cross_entropy(
            head, labels, label_smoothing=recipe.label_smoothing
        )
    return loss
