"""Real images to learn from: small patches of photographs, one class a photograph."""

from functools import cache
from random import Random
from typing import Literal

import torch
import torch.nn.functional as F

from cnnlab.data.image_set import ImageSet
from cnnlab.data.photographs import photograph, photographs

__all__ = ["textures"]

SIZE = 48  # pixels of a patch
LONGER = 512  # pixels of a photograph's longer side, before it is cut
TRAIN, TEST = 30, 24  # patches of each photograph
CLASSES = [name for name in photographs() if name not in ("coins", "page", "text")]  # too small


def textures(split: Literal["train", "test"] = "train") -> ImageSet:
    """Patches of 15 photographs, 48×48: from which of them does a patch come?

    Every photograph is resized to 512 pixels at its longer side and cut into a grid of patches that
    do not overlap. Train takes 30 of those in the left three fifths of the columns, test 24 of
    those to the right of them: no pixel is in both, and a test patch shows another part of the
    scene. The classes take turns, so that the first 15 k images hold k of each.

    Parameters
    ----------
    split
        ``"train"`` (450 images) or ``"test"`` (360). To validate, hold out some of train.

    Returns
    -------
    ImageSet
        Images (N, 3, 48, 48), float32 in [0, 1]; labels 0 to 14, named as in `photographs`.

    Raises
    ------
    ValueError
        If there is no such split.
    ModuleNotFoundError
        If scikit-image, which ships the photographs, is not installed.

    Notes
    -----
    A logistic regression on the mean and deviation of each colour alone gets 58 % of the test
    patches right: what a network sees begins above that. And each class is one photograph, so an
    accuracy here says nothing about other photographs of the same thing.
    """
    if split not in ("train", "test"):
        instead = "; hold out some of train to validate" if split == "validation" else ""
        raise ValueError(f"split {split!r} is none of train, test{instead}")
    count = TRAIN if split == "train" else TEST
    parts = [_patches(name)[split][:count] for name in CLASSES]
    images = torch.stack(parts, dim=1).flatten(0, 1)  # the classes take turns
    labels = torch.arange(len(CLASSES)).repeat(count)
    return ImageSet(images, labels, CLASSES, f"textures ({split})")


@cache
def _patches(name: str) -> dict[str, torch.Tensor]:
    """The patches of either side of a photograph, in an order drawn once from a fixed seed."""
    image, random = photograph(name), Random(0)
    height, width = (round(side * LONGER / max(image.shape)) for side in image.shape[1:])
    image = F.interpolate(image[None], (height, width), mode="bilinear", antialias=True)[0]
    rows, columns = height // SIZE, width // SIZE
    border, sides = round(0.6 * columns), {"train": [], "test": []}
    for row in range(rows):
        for column in range(columns):
            side = sides["train" if column < border else "test"]
            side.append(image[:, row * SIZE :, column * SIZE :][:, :SIZE, :SIZE])
    return {
        split: torch.stack(sorted(patches, key=lambda _: random.random()))
        for split, patches in sides.items()
    }
