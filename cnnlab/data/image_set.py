"""A set of labelled images held in memory."""

from collections.abc import Sequence

import torch
from torch.utils.data import Dataset

__all__ = ["ImageSet"]


class ImageSet(Dataset):
    """Labelled images in memory, as a torch dataset: ``image, label = image_set[0]``.

    Attributes
    ----------
    images : torch.Tensor
        All images, shape (N, C, H, W), float32 in [0, 1].
    labels : torch.Tensor
        Their classes, shape (N,), int64 in [0, len(classes)).
    classes : tuple of str
        The name of each class.
    name : str
        What the set is, for its printed line.

    Raises
    ------
    ValueError
        If the images are not (N, C, H, W), or the labels are not N class numbers.
    """

    def __init__(
        self, images: torch.Tensor, labels: torch.Tensor, classes: Sequence[str], name: str
    ):
        if images.ndim != 4:
            raise ValueError(f"images must have shape (N, C, H, W), not {tuple(images.shape)}")
        if labels.shape != images.shape[:1]:
            raise ValueError(f"{len(images)} images came with labels {tuple(labels.shape)}")
        if len(labels) and not (labels.min() >= 0 and labels.max() < len(classes)):
            raise ValueError(
                f"labels {labels.min()} to {labels.max()} do not fit {len(classes)} classes"
            )
        self.images = images
        self.labels = labels
        self.classes = tuple(classes)
        self.name = name

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index) -> tuple[torch.Tensor, torch.Tensor]:
        return self.images[index], self.labels[index]

    def __repr__(self) -> str:
        shape = "×".join(map(str, self.images.shape[1:]))
        return f"{self.name}: {len(self):,} images {shape}, {len(self.classes)} classes"
