"""Features: what the trunk of a network makes of images, computed once and kept."""

import hashlib
import os
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from cnnlab.data import Batches, ImageSet, cache_folder
from cnnlab.device import get_device
from cnnlab.transfer.surgery import head_of

__all__ = ["extract_features"]


@torch.no_grad()
def extract_features(
    model: nn.Module,
    data: Dataset,
    *,
    device: torch.device | str | None = None,
    batch_size: int = 256,
    cache: bool = False,
) -> TensorDataset:
    """What goes into a network's head, for each image: (N, features), and the labels (N,).

    A frozen trunk gives the same features in every epoch, so a linear probe needs one pass
    through it and then trains on these in a moment.

    Parameters
    ----------
    model
        A network with a linear head; it is run in evaluation mode and left as it was.
    data
        A dataset of (image, label).
    device
        Default: `cnnlab.get_device`.
    cache
        Keep the result in the folder ``features`` of `cnnlab.data.cache_folder`, under a
        checksum of the weights and the images, for the next time. For an `ImageSet` only: what
        other datasets hold is not known before they are read.

    Raises
    ------
    ValueError
        If the head is not linear, or ``cache`` is asked for a dataset that is not in memory.
    """
    if cache and not isinstance(data, ImageSet):
        raise ValueError(
            f"features of a {type(data).__name__} cannot be cached, of an ImageSet can"
        )
    device = get_device() if device is None else torch.device(device)
    path = _cache_path(model, data) if cache else None
    if path is not None and path.exists():
        return TensorDataset(*torch.load(path, weights_only=True))
    features, labels = [], []
    with _without_head(model):
        model.to(device).eval()
        for images, batch in Batches(data, batch_size, device).epoch():
            features.append(model(images).flatten(1).cpu())
            labels.append(batch.cpu())
    tensors = torch.cat(features), torch.cat(labels)
    if path is not None:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        torch.save(tensors, part)
        os.replace(part, path)
    return TensorDataset(*tensors)


@contextmanager
def _without_head(model: nn.Module):
    parent, name, head = head_of(model)
    if not isinstance(head, nn.Linear):
        raise ValueError(f"the head {name} is a {type(head).__name__}, not linear")
    training = model.training
    setattr(parent, name, nn.Identity())
    try:
        yield
    finally:
        setattr(parent, name, head)
        model.train(training)


def _cache_path(model: nn.Module, data: ImageSet) -> Path:
    digest = hashlib.sha256(type(model).__name__.encode())
    *_, head = head_of(model)
    skipped = {id(tensor) for tensor in head.state_dict(keep_vars=True).values()}
    for name, tensor in model.state_dict(keep_vars=True).items():
        if id(tensor) not in skipped:
            digest.update(f"{name} {tuple(tensor.shape)}".encode())
            digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    digest.update(data.images.numpy().tobytes() + data.labels.numpy().tobytes())
    return cache_folder() / "features" / f"{digest.hexdigest()[:32]}.pt"
