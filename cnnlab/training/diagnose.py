"""Why a run can't begin, why its loss doesn't fall, and why it is no longer a number."""

import warnings

import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from cnnlab.cost import CostError, summary

__all__ = [
    "explain_failure",
    "explain_nonfinite",
    "first_nonfinite_layer",
    "refuse_data",
    "refuse_nonfinite_weights",
    "warn_of_probabilities",
]


def refuse_data(data: Dataset) -> None:
    """Raise TypeError unless a dataset has pairs of a tensor of floats and a class's number."""
    if isinstance(data, DataLoader):
        raise TypeError(
            "fit takes the dataset, not a DataLoader, and deals out the batches itself: give it "
            "loader.dataset, and the batch_size to the recipe"
        )
    image, label = data[0]
    if not isinstance(image, Tensor):
        raise TypeError(
            f"an image of the dataset is a {type(image).__name__}, not a tensor: give the dataset "
            "a transform, such as torchvision.transforms.ToTensor()"
        )
    if not image.is_floating_point():
        raise TypeError(
            f"images are {image.dtype}, but networks compute with floats: images.float() / 255"
        )
    label = torch.as_tensor(label)
    if label.ndim or label.is_floating_point():
        raise TypeError(
            f"a label has the shape {tuple(label.shape)} and is {label.dtype}, but cross entropy "
            "takes the number of a class: labels.argmax(1) for one-hot labels, labels.long() for "
            "floats"
        )


def explain_failure(model: nn.Module, images: Tensor, error: Exception) -> str | None:
    """One sentence on why a network refuses a batch, where torch's own doesn't help; else None."""
    if "Expected more than 1 value per channel" in str(error):
        return (
            f"a batch of {len(images)} image leaves batch norm one value a channel, whose "
            "deviation is 0: choose a batch_size that does not leave a single image for the last "
            "batch"
        )
    try:
        summary(model, tuple(images.shape[1:]))
    except CostError as reason:
        return str(reason)
    return None


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
