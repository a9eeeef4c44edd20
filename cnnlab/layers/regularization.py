"""Switching off at random while training: units, layers, paths.

The names cross in the literature: timm's ``DropPath`` is `StochasticDepth` with ``mode="row"``;
`DropPath` here is FractalNet's, which drops inputs of a join.
"""

import torch
from torch import Tensor, nn

from cnnlab.device import draw_into

__all__ = ["DropPath", "Dropout", "StochasticDepth", "dropout", "stochastic_depth"]


def _check(p: float) -> None:
    if not 0 <= p <= 1:
        raise ValueError(f"p is a probability between 0 and 1, got {p}")


def _keep(x: Tensor, shape, p: float, generator) -> Tensor:
    """Scale kept entries by 1 / (1 - p), so that the expectation stays what it was."""
    noise = torch.empty(shape, dtype=torch.float32, device=x.device)
    draw_into(noise, torch.Tensor.uniform_, generator)
    mask = (noise >= p).to(x.dtype)
    return x * (mask / (1 - p) if p < 1 else mask)


def dropout(x: Tensor, p: float = 0.5, generator: torch.Generator | None = None) -> Tensor:
    """Zero each entry with probability ``p`` and scale the others by ``1 / (1 - p)``.

    Srivastava et al. 2014, https://jmlr.org/papers/v15/srivastava14a.html ("inverted", so that
    nothing is left to do when testing).
    """
    _check(p)
    return _keep(x, x.shape, p, generator)


def stochastic_depth(
    x: Tensor, p: float, mode: str = "batch", generator: torch.Generator | None = None
) -> Tensor:
    """Zero a whole residual branch ``x (N, ...)`` with probability ``p``.

    Huang et al. 2016 (https://arxiv.org/abs/1603.09382) drop it for the whole mini-batch,
    ``mode="batch"``; ``mode="row"`` draws for each image. Where the paper multiplies by the
    survival probability when testing, we divide by it when training: same expectation.
    """
    _check(p)
    if mode not in ("batch", "row"):
        raise ValueError(f"mode must be 'batch' or 'row', got {mode!r}")
    shape = [1] * x.ndim if mode == "batch" else [x.shape[0], *[1] * (x.ndim - 1)]
    return _keep(x, shape, p, generator)


class Dropout(nn.Module):
    """`dropout` while training, nothing while evaluating."""

    def __init__(self, p: float = 0.5):
        super().__init__()
        _check(p)
        self.p = p

    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p}"


class StochasticDepth(nn.Module):
    """`stochastic_depth` while training, nothing while evaluating."""

    def __init__(self, p: float, mode: str = "batch"):
        super().__init__()
        _check(p)
        self.p, self.mode = p, mode

    def forward(self, x: Tensor) -> Tensor:
        return stochastic_depth(x, self.p, self.mode) if self.training and self.p else x

    def extra_repr(self) -> str:
        return f"p={self.p}, mode={self.mode}"


class DropPath(nn.Module):
    """FractalNet's join: the mean of its inputs, of those that survive while training.

    Larsson et al. 2017 (https://arxiv.org/abs/1605.07648), section 3. *Local* sampling drops each
    input with probability ``p`` but keeps at least one; *global* sampling keeps one column.

    ``forward(paths, column=None)`` takes K tensors of one shape ``(N, ...)``. ``column (N,)``
    gives, for each image, the index of the only path to keep, or -1 for local sampling.
    """

    def __init__(self, p: float = 0.15):
        super().__init__()
        _check(p)
        self.p = p

    def forward(self, paths: list[Tensor], column: Tensor | None = None) -> Tensor:
        stacked = torch.stack(paths)
        if not self.training:
            return stacked.mean(0)
        k, n = stacked.shape[:2]
        noise = torch.rand(k, n, device=stacked.device)
        keep = (noise >= self.p) | (noise == noise.amax(0))  # the luckiest always survives
        if column is not None:
            index = torch.arange(k, device=stacked.device)[:, None]
            keep = torch.where(column < 0, keep, index == column)
        weight = keep / keep.sum(0).clamp(min=1)
        shape = (k, n, *[1] * (stacked.ndim - 2))
        return (stacked * weight.to(stacked.dtype).view(shape)).sum(0)

    def extra_repr(self) -> str:
        return f"p={self.p}"
