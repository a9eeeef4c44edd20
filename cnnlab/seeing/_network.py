"""What all of them need: a layer's output, the image as a batch, the network in evaluation mode."""

import difflib
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """The network in evaluation mode; afterwards each module is in the mode that it was in."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def as_batch(model: nn.Module, image: Tensor) -> Tensor:
    """The image as (1, C, H, W), on the network's device."""
    batch = image[None] if image.ndim == 3 else image
    if batch.ndim != 4 or len(batch) != 1:
        raise ValueError(
            f"one image (C, H, W) or (1, C, H, W) is looked at, got {tuple(image.shape)}"
        )
    return batch.detach().to(device_of(model))


def device_of(model: nn.Module) -> torch.device:
    return next(iter(model.parameters())).device


def run(model: nn.Module, x: Tensor, layer: str | None = None) -> tuple[Tensor, Tensor | None]:
    """The scores (N, classes), and what ``layer`` gave, (N, C, H, W)."""
    if layer is None:
        return model(x), None
    names = [name for name, _ in model.named_modules() if name]
    if layer not in names:
        near = difflib.get_close_matches(layer, names, n=4, cutoff=0)
        raise ValueError(
            f"{type(model).__name__} has no layer {layer!r}; the nearest are {', '.join(near)}"
        )
    kept: list[Tensor] = []

    def keep(module, inputs, output):
        kept.append(output)
        return output.clone()  # what follows may be an activation that works in place

    handle = model.get_submodule(layer).register_forward_hook(keep)
    try:
        scores = model(x)
    finally:
        handle.remove()
    if not kept or kept[0].ndim != 4:
        got = f"shape {tuple(kept[0].shape)}" if kept else "nothing"
        raise ValueError(f"{layer} gives {got}, not feature maps (N, C, H, W)")
    return scores, kept[0]


def choose(scores: Tensor, target: int | None) -> int:
    """The class that is asked about: by default the one with the highest score."""
    classes = scores.shape[1]
    if target is None:
        return scores[0].argmax().item()
    if not 0 <= target < classes:
        raise ValueError(f"target {target} is not within 0 to {classes - 1}, the network's classes")
    return target
