"""Seeing by gradients: how a class's score depends on pixels and maps."""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from cnnlab.seeing._network import as_batch, choose, evaluating, run

__all__ = ["grad_cam", "guided_backprop", "saliency"]


def saliency(model: nn.Module, image: Tensor, target: int | None = None) -> Tensor:
    """The size of the gradient of a class's score at each pixel, (H, W).

    The largest absolute value of the channels: Simonyan, Vedaldi and Zisserman 2014,
    https://arxiv.org/abs/1312.6034, section 3.

    Parameters
    ----------
    target
        The class; default: the one that the network names.
    """
    return _input_gradient(model, image, target).abs().amax(0)


def grad_cam(
    model: nn.Module, image: Tensor, layer: str, target: int | None = None, *, enlarge: bool = True
) -> Tensor:
    """Which region speaks for a class: Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391.

    Each map of the layer gets as its weight the mean of the gradient of the class's score over that
    map; their weighted sum, with negative values cut off, is the answer.

    Parameters
    ----------
    layer
        Usually the last one with maps.
    target
        The class; default: the one that the network names.
    enlarge
        Bilinearly to the image's size; False leaves the layer's.

    Returns
    -------
    torch.Tensor
        (H, W), from 0 up, in units of the score.

    Raises
    ------
    ValueError
        If there is no such layer or class, or the layer gives no maps.
    """
    x = as_batch(model, image).requires_grad_()  # so that a frozen network has gradients, too
    with evaluating(model), torch.enable_grad():
        scores, maps = run(model, x, layer)
        (gradient,) = torch.autograd.grad(scores[0, choose(scores, target)], maps)
    weights = gradient.mean((2, 3), keepdim=True)
    heat = (weights * maps).sum(1, keepdim=True).relu().detach()
    if enlarge:
        heat = F.interpolate(heat, x.shape[2:], mode="bilinear")
    return heat[0, 0]


class _GuidedReLU(torch.autograd.Function):
    """ReLU up to ``top`` whose gradient passes only where it and the input are positive."""

    @staticmethod
    def forward(context, x: Tensor, top: float) -> Tensor:
        context.save_for_backward((x > 0) & (x < top))
        return x.clamp(0, top)

    @staticmethod
    def backward(context, gradient: Tensor):
        (passes,) = context.saved_tensors
        return gradient.clamp(min=0) * passes, None


class _Guided(nn.Module):
    def __init__(self, activation: nn.Module):
        super().__init__()
        self.top = 6.0 if isinstance(activation, nn.ReLU6) else float("inf")

    def forward(self, x: Tensor) -> Tensor:
        return _GuidedReLU.apply(x, self.top)


def guided_backprop(model: nn.Module, image: Tensor, target: int | None = None) -> Tensor:
    """The gradient of a class's score at the pixels, along positive paths only, (C, H, W).

    On its way down every ReLU (or ReLU6) stops what is negative, beside what it was itself closed
    to: Springenberg et al. 2015, https://arxiv.org/abs/1412.6806. The pictures are sharp, but they
    hardly depend on the class (Adebayo et al. 2018): they show strokes, not reasons.

    Parameters
    ----------
    target
        The class; default: the one that the network names.

    Raises
    ------
    ValueError
        If the network has no `nn.ReLU` or `nn.ReLU6` module, or there is no such class.
    """
    guided = copy.deepcopy(model)
    found = [
        (module, name, child)
        for module in guided.modules()
        for name, child in module.named_children()
        if isinstance(child, nn.ReLU | nn.ReLU6)
    ]
    if not found:
        raise ValueError(
            f"{type(model).__name__} has no ReLU module whose gradient could be guided"
        )
    for module, name, child in found:
        setattr(module, name, _Guided(child))
    return _input_gradient(guided, image, target)


def _input_gradient(model: nn.Module, image: Tensor, target: int | None) -> Tensor:
    x = as_batch(model, image).requires_grad_()
    with evaluating(model), torch.enable_grad():
        scores = model(x)
        (gradient,) = torch.autograd.grad(scores[0, choose(scores, target)], x)
    return gradient[0]
