"""Convolution computed four ways, all equal to `torch.nn.functional.conv2d`.

- *direct*: slide a window over the image, as in the first lecture.
- *im2col*: copy every window into a column, then one matrix product (Chellapilla et al. 2006).
- *fft*: convolution is a product of spectra (Mathieu et al. 2014, https://arxiv.org/abs/1312.5851).
- *winograd*: F(2×2, 3×3), four outputs for 16 multiplications instead of 36
  (Lavin and Gray 2016, https://arxiv.org/abs/1509.09308).

Padding and groups are dealt with once, in `conv2d`; each algorithm then sees one group of an
image that is padded already. All are built of differentiable tensor operations, so gradients
and other devices come for free.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["ALGORITHMS", "Conv2d", "conv2d"]


def _direct(x, weight, stride, dilation):
    (sh, sw), (dh, dw), (kh, kw) = stride, dilation, weight.shape[2:]
    rows = (x.shape[2] - dh * (kh - 1) - 1) // sh + 1
    columns = (x.shape[3] - dw * (kw - 1) - 1) // sw + 1
    pixels = []
    for top in range(0, rows * sh, sh):
        for left in range(0, columns * sw, sw):
            window = x[:, :, top : top + dh * kh : dh, left : left + dw * kw : dw]
            pixels.append((window.unsqueeze(1) * weight).sum((2, 3, 4)))
    return torch.stack(pixels, dim=-1).unflatten(-1, (rows, columns))


def _im2col(x, weight, stride, dilation):
    kernel = weight.shape[2:]
    rows, columns = (
        (size - d * (k - 1) - 1) // s + 1
        for size, k, s, d in zip(x.shape[2:], kernel, stride, dilation, strict=True)
    )
    windows = F.unfold(x, kernel, dilation, stride=stride)  # (N, C * kh * kw, rows * columns)
    return (weight.flatten(1) @ windows).unflatten(-1, (rows, columns))


def _fft(x, weight, stride, dilation):
    (sh, sw), (dh, dw), (kh, kw) = stride, dilation, weight.shape[2:]
    real = torch.promote_types(x.dtype, torch.float32)  # no FFT of half precision on a CPU
    spaced = weight.new_zeros(*weight.shape[:2], dh * (kh - 1) + 1, dw * (kw - 1) + 1, dtype=real)
    spaced[:, :, ::dh, ::dw] = weight.to(real)
    size = x.shape[2:]
    spectrum = torch.fft.rfft2(x.to(real))
    # The conjugate turns the circular convolution into the cross-correlation of deep learning.
    filters = torch.fft.rfft2(spaced, s=size).conj()
    full = torch.fft.irfft2(torch.einsum("nchw,ochw->nohw", spectrum, filters), s=size)
    valid = full[:, :, : size[0] - spaced.shape[2] + 1, : size[1] - spaced.shape[3] + 1]
    return valid[:, :, ::sh, ::sw].to(x.dtype)


def _winograd(x, weight, stride, dilation):
    if (*weight.shape[2:], *stride, *dilation) != (3, 3, 1, 1, 1, 1):
        raise ValueError(
            "winograd F(2×2, 3×3) computes kernel_size 3, stride 1, dilation 1 only, "
            f"got kernel_size {tuple(weight.shape[2:])}, stride {stride}, dilation {dilation}"
        )
    g = x.new_tensor([[1, 0, 0], [0.5, 0.5, 0.5], [0.5, -0.5, 0.5], [0, 0, 1]])
    b = x.new_tensor([[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]])
    a = x.new_tensor([[1, 1, 1, 0], [0, 1, -1, -1]])
    height, width = x.shape[2] - 2, x.shape[3] - 2
    x = F.pad(x, (0, width % 2, 0, height % 2))  # whole 2×2 output tiles
    tiles = x.unfold(2, 4, 2).unfold(3, 4, 2)  # (N, C, rows, columns, 4, 4), overlapping by 2
    tiles = b @ tiles @ b.T
    filters = g @ weight @ g.T  # (C_out, C, 4, 4)
    products = torch.einsum("nctuhw,ochw->notuhw", tiles, filters)
    outputs = a @ products @ a.T  # (N, C_out, rows, columns, 2, 2)
    return outputs.transpose(3, 4).flatten(4).flatten(2, 3)[:, :, :height, :width]


ALGORITHMS = {"direct": _direct, "im2col": _im2col, "fft": _fft, "winograd": _winograd}


def _pair(value) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _borders(padding, kernel_size, stride, dilation) -> tuple[int, int, int, int]:
    """Pixels to add left, right, top and bottom, in the order of `F.pad`."""
    if padding == "valid":
        return 0, 0, 0, 0
    if padding == "same":
        if stride != (1, 1):
            raise ValueError(f"padding='same' needs stride 1, got stride {stride}")
        (h, w) = (d * (k - 1) for k, d in zip(kernel_size, dilation, strict=True))
        return w // 2, w - w // 2, h // 2, h - h // 2
    h, w = _pair(padding)
    return w, w, h, h


def conv2d(
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] | str = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    *,
    algorithm: str = "im2col",
    padding_mode: str = "zeros",
) -> Tensor:
    """Two-dimensional convolution (cross-correlation) by the algorithm that you name.

    Parameters
    ----------
    x : Tensor
        Images ``(N, C_in, H, W)``.
    weight : Tensor
        Filters ``(C_out, C_in / groups, kernel_height, kernel_width)``.
    bias : Tensor, optional
        ``(C_out,)``.
    stride, padding, dilation, groups
        As in `torch.nn.functional.conv2d`; padding is per side, or ``"same"`` or ``"valid"``.
    algorithm : {"direct", "im2col", "fft", "winograd"}
        ``"winograd"`` computes 3×3 kernels with stride 1 only.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What stands in the padded border.

    Returns
    -------
    Tensor
        ``(N, C_out, H', W')`` with ``H' = floor((H + 2p - d(k - 1) - 1) / s) + 1``.

    Raises
    ------
    ValueError
        If the algorithm is unknown or can't compute this case, or if the shapes do not fit.
    """
    if algorithm not in ALGORITHMS:
        raise ValueError(f"algorithm must be one of {sorted(ALGORITHMS)}, got {algorithm!r}")
    kernel_size, stride, dilation = tuple(weight.shape[2:]), _pair(stride), _pair(dilation)
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(
            "conv2d takes x of shape (N, C_in, H, W) and weight of shape (C_out, C_in/groups, "
            f"kernel_height, kernel_width), got {tuple(x.shape)} and {tuple(weight.shape)}"
        )
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(
            f"x has {x.shape[1]} channels, but weight {tuple(weight.shape)} with groups={groups} "
            f"takes {weight.shape[1] * groups} channels and a number of filters divisible by it"
        )
    left, right, top, bottom = _borders(padding, kernel_size, stride, dilation)
    for axis, size, border, k, d in (
        ("height", x.shape[2], top + bottom, kernel_size[0], dilation[0]),
        ("width", x.shape[3], left + right, kernel_size[1], dilation[1]),
    ):
        if d * (k - 1) + 1 > size + border:
            raise ValueError(
                f"kernel_size {k} with dilation {d} exceeds the padded {axis} {size + border} "
                f"(input {size}, padding {border} in all)"
            )
    mode = "constant" if padding_mode == "zeros" else padding_mode
    x = F.pad(x, (left, right, top, bottom), mode=mode)
    out = torch.cat(
        [
            ALGORITHMS[algorithm](part, filters, stride, dilation)
            for part, filters in zip(x.chunk(groups, 1), weight.chunk(groups, 0), strict=True)
        ],
        dim=1,
    )
    return out if bias is None else out + bias.to(out.dtype)[:, None, None]


class Conv2d(nn.Conv2d):
    """`torch.nn.Conv2d` that computes by the algorithm that you name.

    Same parameters, same ``state_dict``, same gradients; ``algorithm="torch"`` is torch's own.

    Examples
    --------
    >>> layer = Conv2d(3, 8, 3, padding=1, algorithm="winograd")
    >>> layer(torch.ones(1, 3, 5, 5)).shape
    torch.Size([1, 8, 5, 5])
    """

    def __init__(self, *args, algorithm: str = "im2col", **kwargs):
        super().__init__(*args, **kwargs)
        if algorithm not in ("torch", *ALGORITHMS):
            raise ValueError(
                f"algorithm must be one of {['torch', *sorted(ALGORITHMS)]}, got {algorithm!r}"
            )
        self.algorithm = algorithm

    def forward(self, x: Tensor) -> Tensor:
        if self.algorithm == "torch":
            return super().forward(x)
        return conv2d(
            x,
            self.weight,
            self.bias,
            self.stride,
            self.padding,
            self.dilation,
            self.groups,
            algorithm=self.algorithm,
            padding_mode=self.padding_mode,
        )

    def extra_repr(self) -> str:
        return f"{super().extra_repr()}, algorithm={self.algorithm}"
