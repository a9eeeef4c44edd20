"""Seeing without gradients: run the network, and look."""

import torch
from torch import Tensor, nn

from cnnlab.seeing._network import as_batch, choose, device_of, evaluating, run

__all__ = ["feature_maps", "occlusion_map", "strongest_patches"]


@torch.no_grad()
def feature_maps(model: nn.Module, image: Tensor, layer: str) -> Tensor:
    """What a layer makes of an image: (C, h, w).

    Parameters
    ----------
    model
        Any network.
    image
        Its input, (C, H, W) or (1, C, H, W).
    layer
        Its name, as in ``model.named_modules()``.

    Raises
    ------
    ValueError
        If there is no such layer or it gives no maps.
    """
    with evaluating(model):
        return run(model, as_batch(model, image), layer)[1][0]


@torch.no_grad()
def occlusion_map(
    model: nn.Module,
    image: Tensor,
    target: int | None = None,
    *,
    patch: int = 32,
    stride: int = 16,
    fill: float = 0.0,
    batch_size: int = 64,
) -> Tensor:
    """How much the probability of a class falls where a square is covered (Zeiler and Fergus 2014).

    Parameters
    ----------
    target
        The class; default: the one that the network names.
    patch, stride
        Side of the square and the step from one position to the next, in pixels.
    fill
        What covers: 0 is grey for an input that is normalized to a mean of 0.

    Returns
    -------
    torch.Tensor
        (rows, columns), one value for each position; positive where the class needs the pixels.

    Raises
    ------
    ValueError
        If the square is larger than the image, or an argument is below 1.
    """
    x = as_batch(model, image)
    height, width = x.shape[2:]
    if not 1 <= patch <= min(height, width) or stride < 1:
        raise ValueError(
            f"a square of {patch} that moves by {stride} does not fit an image of {height}×{width}"
        )
    tops, lefts = range(0, height - patch + 1, stride), range(0, width - patch + 1, stride)
    covered = x.repeat(len(tops) * len(lefts), 1, 1, 1)
    for n, (top, left) in enumerate((top, left) for top in tops for left in lefts):
        covered[n, :, top : top + patch, left : left + patch] = fill
    with evaluating(model):
        scores = model(x)
        target = choose(scores, target)
        left_over = [model(part).softmax(1)[:, target] for part in covered.split(batch_size)]
    drop = scores.softmax(1)[0, target] - torch.cat(left_over)
    return drop.unflatten(0, (len(tops), len(lefts)))


@torch.no_grad()
def strongest_patches(
    model: nn.Module,
    images: Tensor,
    layer: str,
    channel: int,
    *,
    count: int = 9,
    size: int = 32,
    batch_size: int = 64,
) -> Tensor:
    """The pieces of images to which one channel of a layer responds most, (count, C, size, size).

    Of each image only its strongest position counts. The piece is cut around the centre of what the
    position sees; at the rim it is moved inwards.

    Parameters
    ----------
    images
        Many inputs, (N, C, H, W).
    channel
        Of the layer.
    count
        How many pieces, the strongest first; at most N.
    size
        Their side in pixels.

    Raises
    ------
    ValueError
        If there is no such channel, or the images are fewer than ``count`` or smaller than
        ``size``.
    """
    n, _, height, width = images.shape
    if n < count or min(height, width) < size:
        raise ValueError(
            f"{n} images of {height}×{width} do not hold {count} pieces of {size}×{size}"
        )
    found = []
    with evaluating(model):
        for part in images.split(batch_size):
            maps = run(model, part.to(device_of(model)), layer)[1]
            if not 0 <= channel < maps.shape[1]:
                raise ValueError(f"channel {channel} is not within 0 to {maps.shape[1] - 1}")
            found.append(maps[:, channel].flatten(1).max(1))
    rows, columns = maps.shape[2:]
    values, places = (torch.cat(column).cpu() for column in zip(*found, strict=True))
    pieces = []
    for index in values.topk(count).indices.tolist():
        row, column = divmod(places[index].item(), columns)
        top = min(max(round((row + 0.5) * height / rows - size / 2), 0), height - size)
        left = min(max(round((column + 0.5) * width / columns - size / 2), 0), width - size)
        pieces.append(images[index, :, top : top + size, left : left + size])
    return torch.stack(pieces)
