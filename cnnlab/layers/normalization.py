"""Batch normalization and local response normalization, as their papers write them."""

import torch
from torch import Tensor, nn

__all__ = ["BatchNorm2d", "LocalResponseNorm", "batch_norm", "local_response_norm"]


def batch_norm(
    x: Tensor,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    mean: Tensor | None = None,
    var: Tensor | None = None,
    eps: float = 1e-5,
) -> tuple[Tensor, Tensor, Tensor]:
    """Algorithm 1 of Ioffe and Szegedy 2015 (https://arxiv.org/abs/1502.03167).

    Parameters
    ----------
    x : Tensor
        ``(N, C, ...)``; one mean and one variance for each of the C channels.
    weight, bias : Tensor, optional
        The paper's γ and β, ``(C,)``.
    mean, var : Tensor, optional
        Statistics to normalize with ``(C,)``; left out, they are the batch's own (biased) ones.

    Returns
    -------
    tuple of Tensor
        The normalized batch like ``x``, and the mean and variance that were used.
    """
    shape = (1, -1, *[1] * (x.ndim - 2))
    axes = [axis for axis in range(x.ndim) if axis != 1]
    exact = x.to(torch.promote_types(x.dtype, torch.float32))  # sums of half precision drift
    if mean is None:
        mean = exact.mean(axes)
    if var is None:
        var = (exact - mean.view(shape)).square().mean(axes)
    out = (exact - mean.view(shape)) / torch.sqrt(var.view(shape) + eps)
    if weight is not None:
        out = out * weight.view(shape)
    if bias is not None:
        out = out + bias.view(shape)
    return out.to(x.dtype), mean, var


class BatchNorm2d(nn.BatchNorm2d):
    """`torch.nn.BatchNorm2d` computed by `batch_norm`: same parameters, same ``state_dict``.

    Training normalizes with the batch and keeps a running mean and (unbiased) variance;
    evaluation normalizes with what was kept.
    """

    def forward(self, x: Tensor) -> Tensor:
        self._check_input_dim(x)
        if not self.training and self.running_mean is not None:
            return batch_norm(
                x, self.weight, self.bias, self.running_mean, self.running_var, self.eps
            )[0]
        count = x.numel() // x.shape[1]
        if self.training and count == 1:
            raise ValueError(
                "batch normalization needs more than one value per channel in training, "
                f"got input of shape {tuple(x.shape)}"
            )
        out, mean, var = batch_norm(x, self.weight, self.bias, eps=self.eps)
        if self.training and self.running_mean is not None:
            self.num_batches_tracked.add_(1)
            rate = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            with torch.no_grad():
                self.running_mean += rate * (mean - self.running_mean)
                self.running_var += rate * (var * count / (count - 1) - self.running_var)
        return out


def local_response_norm(
    x: Tensor, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0
) -> Tensor:
    """Divide each activation by the energy of its neighbours in ``size`` adjacent channels.

    ``x / (k + alpha * Σ x²)^beta``, as Krizhevsky et al. 2012 write it in section 3.3, with
    their constants. `torch.nn.functional.local_response_norm` divides its alpha by ``size``: its
    ``alpha=5e-4`` is the paper's ``1e-4``.

    Parameters
    ----------
    x : Tensor
        ``(N, C, H, W)``, or any ``(N, C, ...)``.
    """
    if size < 1:
        raise ValueError(f"size must be at least 1 channel, got {size}")
    energy = (
        nn.functional.pad(x.square().movedim(1, -1), (size // 2, (size - 1) // 2))
        .unfold(-1, size, 1)
        .sum(-1)
        .movedim(-1, 1)
    )
    return x / (k + alpha * energy) ** beta


class LocalResponseNorm(nn.Module):
    """`local_response_norm` with AlexNet's constants as the defaults. No parameters."""

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0):
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        return local_response_norm(x, self.size, self.alpha, self.beta, self.k)

    def extra_repr(self) -> str:
        return f"size={self.size}, alpha={self.alpha}, beta={self.beta}, k={self.k}"
