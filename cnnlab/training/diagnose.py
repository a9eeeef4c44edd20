"""Why a loss is no longer a number, and why it doesn't fall."""

import warnings

import torch
from torch import Tensor, nn

__all__ = [
    "explain_nonfinite",
    "first_nonfinite_layer",
    "refuse_nonfinite_weights",
    "warn_of_probabilities",
]


@torch.no_grad()
def first_nonfinite_layer(model: nn.Module, images: Tensor) -> tuple[str, nn.Module] | None:
    """Name and module of the first layer whose output has a NaN or an infinity.

    Runs ``images (N, C, H, W)`` through the model in the mode it is in; None if all is finite.
    """
    found: list[tuple[str, nn.Module]] = []

    def watch(name):
        def look(module, _, output):
            if not found and isinstance(output, Tensor) and not output.isfinite().all():
                found.append((name, module))

        return look

    hooks = [module.register_forward_hook(watch(name)) for name, module in model.named_modules()]
    try:
        model(images)
    finally:
        for hook in hooks:
            hook.remove()
    return found[0] if found else None


def explain_nonfinite(
    model: nn.Module, images: Tensor, loss: float, where: str, learning_rate: float
) -> str:
    """One sentence on where a loss that is not finite came from, and what to try."""
    start = f"the loss is {loss} at {where}"
    if not images.isfinite().all():
        return f"{start}: the images already have a number that is not finite, before any layer"
    found = first_nonfinite_layer(model, images)
    if found is None:
        return (
            f"{start}, though every layer's output is finite: scores too large for the loss; "
            f"lower the learning rate {learning_rate:g}, or set clip_norm=1"
        )
    name, module = found
    layer = f"{name} ({type(module).__name__})" if name else f"the {type(module).__name__} itself"
    broken = any(not p.isfinite().all() for p in module.parameters(recurse=False))
    why = "its weights no longer are, after the last step" if broken else "its weights still are"
    return (
        f"{start}: the first layer whose output is not finite is {layer}; {why}. Lower the "
        f"learning rate {learning_rate:g}, or set clip_norm=1"
    )


def refuse_nonfinite_weights(model: nn.Module, epoch: int) -> None:
    """Raise FloatingPointError if a weight is not finite, before anybody stores it."""
    for name, parameter in model.named_parameters():
        if not parameter.isfinite().all():
            raise FloatingPointError(
                f"after epoch {epoch} the weights {name} are not finite, though its losses were: "
                "lower the learning rate, or set clip_norm=1"
            )


def warn_of_probabilities(scores: Tensor) -> None:
    """Warn if the scores ``(N, classes)`` of a batch went through a softmax already.

    Cross entropy applies one itself: after two of them the loss can't fall below
    ln(e + classes - 1) - 1, and the network learns slowly or not at all.
    """
    scores = scores.detach().float()
    sums = scores.sum(1)
    if scores.shape[1] > 1 and bool((scores >= 0).all() & ((sums - 1).abs() < 1e-3).all()):
        warnings.warn(
            "the network's outputs are probabilities (none is negative, and each row adds up to "
            "1), but cross entropy takes scores and applies the softmax itself: leave the "
            "network's last softmax out",
            stacklevel=4,
        )
