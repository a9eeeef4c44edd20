"""Max, average and global pooling, each one reduction over windows.

Equal to `torch.nn.functional.max_pool2d` and `avg_pool2d`, ``ceil_mode`` included: a 7×7 map
pooled 2×2 with stride 2 gives 3×3, and 4×4 with ``ceil_mode=True``.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["AvgPool2d", "GlobalAvgPool2d", "MaxPool2d", "avg_pool2d", "max_pool2d"]


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _end(size: int, k: int, s: int, p: int, ceil_mode: bool) -> int:
    """Where the last window along one axis ends, counted from the padded border."""
    if p > k // 2:
        raise ValueError(f"padding {p} exceeds half of kernel_size {k}")
    if k > size + 2 * p:
        raise ValueError(
            f"kernel_size {k} exceeds the padded input {size + 2 * p} (input {size}, padding {p})"
        )
    steps, rest = divmod(size + 2 * p - k, s)
    if ceil_mode and rest and (steps + 1) * s < size + p:  # a window must start on the input
        steps += 1
    return steps * s + k


def _windows(x, kernel_size, stride, padding, ceil_mode, fill, beyond) -> Tensor:
    """All windows ``(N, C, H', W', kernel_height, kernel_width)`` of ``x (N, C, H, W)``.

    ``fill`` stands in the padding, ``beyond`` in what ``ceil_mode`` adds past it.
    """
    kernel_size, padding = _pair(kernel_size), _pair(padding)
    stride = kernel_size if stride is None else _pair(stride)
    if x.ndim != 4:
        raise ValueError(f"pooling takes x of shape (N, C, H, W), got {tuple(x.shape)}")
    ends = [
        _end(*axis, ceil_mode)
        for axis in zip(x.shape[2:], kernel_size, stride, padding, strict=True)
    ]
    x = F.pad(x, (padding[1], padding[1], padding[0], padding[0]), value=fill)
    x = F.pad(x, (0, max(0, ends[1] - x.shape[3]), 0, max(0, ends[0] - x.shape[2])), value=beyond)
    return x.unfold(2, kernel_size[0], stride[0]).unfold(3, kernel_size[1], stride[1])


def max_pool2d(
    x: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
) -> Tensor:
    """Greatest value in every window of ``x (N, C, H, W)``; ``stride`` defaults to the window.

    Raises
    ------
    ValueError
        If the window is larger than the padded input, or the padding than half the window.
    """
    low = float("-inf")
    return _windows(x, kernel_size, stride, padding, ceil_mode, low, low).amax((-2, -1))


def avg_pool2d(
    x: Tensor,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
    ceil_mode: bool = False,
    count_include_pad: bool = True,
) -> Tensor:
    """Mean of every window of ``x (N, C, H, W)``; ``stride`` defaults to the window.

    The padding's zeros count in the mean unless ``count_include_pad=False``; what ``ceil_mode``
    adds past the padding never counts.

    Raises
    ------
    ValueError
        If the window is larger than the padded input, or the padding than half the window.
    """
    window = kernel_size, stride, padding, ceil_mode
    total = _windows(x, *window, 0.0, 0.0).sum((-2, -1))
    ones = torch.ones_like(x[:1, :1])
    return total / _windows(ones, *window, float(count_include_pad), 0.0).sum((-2, -1))


class MaxPool2d(nn.MaxPool2d):
    """`torch.nn.MaxPool2d` computed by `max_pool2d`."""

    def forward(self, x: Tensor) -> Tensor:
        return max_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode)


class AvgPool2d(nn.AvgPool2d):
    """`torch.nn.AvgPool2d` computed by `avg_pool2d`."""

    def forward(self, x: Tensor) -> Tensor:
        return avg_pool2d(
            x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad
        )


class GlobalAvgPool2d(nn.Module):
    """Mean over all positions: ``(N, C, H, W)`` to ``(N, C)`` (Lin et al. 2014, section 3.2)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((2, 3))
