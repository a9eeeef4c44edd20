"""Seeing by making images: gradient ascent on the pixels."""

import torch
from torch import Tensor, nn

from cnnlab.seeing._network import as_batch, choose, device_of, evaluating, run

__all__ = ["invert_features", "visualize_class"]


def visualize_class(
    model: nn.Module,
    target: int,
    size: tuple[int, int, int] = (3, 224, 224),
    *,
    steps: int = 60,
    rate: float = 0.05,
    decay: float = 0.001,
    shift: int = 8,
    generator: torch.Generator | None = None,
) -> Tensor:
    """An image that a class scores high on, made by gradient ascent from faint noise, (C, H, W).

    Simonyan et al. 2014, section 2: the score minus ``decay`` times the squared norm. So that no
    pixel pattern wins that only works at one position, the image is shifted by up to ``shift``
    pixels before each step, circularly.

    Parameters
    ----------
    target
        The class.
    size
        (C, H, W) of the image.
    steps, rate
        Number and size of the steps (Adam's).
    decay
        Weight of the squared norm, which keeps the pixels small.
    generator
        Draws the noise and the shifts.

    Returns
    -------
    torch.Tensor
        In the network's input range, [-1, 1].

    Raises
    ------
    ValueError
        If there is no such class.
    """
    start = torch.randn(size, generator=generator)[None] * 0.01
    x = start.to(device_of(model)).requires_grad_()
    moves = torch.randint(-shift, shift + 1, (steps, 2), generator=generator).tolist()

    def loss(step: int) -> Tensor:
        scores = model(x.roll(moves[step], (2, 3)))
        return decay * x.pow(2).sum() - scores[0, choose(scores, target)]

    return _descend(model, x, loss, steps, rate)


def invert_features(
    model: nn.Module,
    image: Tensor,
    layer: str,
    *,
    steps: int = 100,
    rate: float = 0.05,
    smooth: float = 0.01,
    generator: torch.Generator | None = None,
) -> Tensor:
    """An image with the same maps in a layer as ``image``: what of it is left there, (C, H, W).

    Mahendran and Vedaldi 2015, https://arxiv.org/abs/1412.0035: the squared distance of the maps,
    relative to their squared norm, plus ``smooth`` times the total variation.

    Parameters
    ----------
    layer
        Whose maps are to agree.
    steps, rate
        Number and size of the steps (Adam's).
    smooth
        Weight of the mean absolute difference of neighbouring pixels.
    generator
        Draws the noise that it starts from.

    Returns
    -------
    torch.Tensor
        In the network's input range, [-1, 1].

    Raises
    ------
    ValueError
        If there is no such layer or it gives no maps.
    """
    batch = as_batch(model, image)
    with evaluating(model), torch.no_grad():
        wanted = run(model, batch, layer)[1].clone()
    scale = wanted.pow(2).sum()
    x = (torch.randn(batch.shape, generator=generator) * 0.01).to(batch.device).requires_grad_()

    def loss(step: int) -> Tensor:
        distance = (run(model, x, layer)[1] - wanted).pow(2).sum() / scale
        rough = x.diff(dim=2).abs().mean() + x.diff(dim=3).abs().mean()
        return distance + smooth * rough

    return _descend(model, x, loss, steps, rate)


def _descend(model: nn.Module, x: Tensor, loss, steps: int, rate: float) -> Tensor:
    """Adam on the pixels of ``x``, (1, C, H, W), kept within [-1, 1]."""
    optimizer = torch.optim.Adam([x], rate)
    with evaluating(model), torch.enable_grad():
        for step in range(steps):
            (x.grad,) = torch.autograd.grad(loss(step), x)
            optimizer.step()
            with torch.no_grad():
                x.clamp_(-1, 1)
    return x.detach()[0]
