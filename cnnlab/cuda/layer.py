"""A kernel as a layer: a student's own CUDA convolution inside a network that trains."""

from functools import cache
from pathlib import Path

import torch
from torch import nn

from cnnlab.cuda.kernel import Kernel, compile
from cnnlab.shapes import output_size

__all__ = ["KernelConv2d"]

_KERNELS = Path(__file__).parent / "kernels"
_THREADS = 128
_forward: dict[
    int, Kernel
] = {}  # an operator's arguments are tensors and numbers: kernels go by number


def _compile(source: str, name: str) -> Kernel:
    kernel = compile(source, name)
    if len(kernel.parameters) < 12:
        raise ValueError(
            f"{kernel!r} cannot be a layer, which takes x, weight, bias, y, C, H, W, O, K, "
            "stride, padding, dilation, OH, OW"
        )
    return kernel


@cache
def _backward(name: str) -> Kernel:
    return _compile((_KERNELS / "backward.cu").read_text(), name)


def _grid(pixels: int, *rest: int) -> tuple[int, int, int]:
    return (-(-pixels // _THREADS), *rest)


def _sizes(x, weight, gy_shape, stride, padding, dilation):
    return (
        *x.shape[1:],
        weight.shape[0],
        weight.shape[2],
        stride,
        padding,
        dilation,
        *gy_shape[2:],
    )


@torch.library.custom_op("cnnlab::kernel_conv2d", mutates_args=())
def kernel_conv2d(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor,
    stride: int,
    padding: int,
    dilation: int,
    kernel: int,
) -> torch.Tensor:
    x, weight = x.contiguous(), weight.contiguous()
    y = _output(x, weight, stride, padding, dilation)
    sizes = _sizes(x, weight, y.shape, stride, padding, dilation)
    n, o, oh, ow = y.shape
    report = _forward[kernel].launch(
        _grid(oh * ow, o, n), _THREADS, x, weight, bias.contiguous(), y, *sizes, mode="fast"
    )
    report.raise_for_findings()
    return y


def _output(x, weight, stride, padding, dilation):
    sides = [
        output_size(side, weight.shape[-1], stride=stride, padding=padding, dilation=dilation)
        for side in x.shape[2:]
    ]
    return x.new_empty(x.shape[0], weight.shape[0], *sides)


@kernel_conv2d.register_fake
def _(x, weight, bias, stride, padding, dilation, kernel):
    return _output(x, weight, stride, padding, dilation)


@torch.library.custom_op("cnnlab::kernel_conv2d_backward", mutates_args=())
def kernel_conv2d_backward(
    gy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    stride: int,
    padding: int,
    dilation: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    gy, x, weight = gy.contiguous(), x.contiguous(), weight.contiguous()
    gx, gw = torch.empty_like(x), torch.empty_like(weight)
    sizes = _sizes(x, weight, gy.shape, stride, padding, dilation)
    n, c, h, w = x.shape
    _backward("grad_input").launch(
        _grid(h * w, c, n), _THREADS, gy, weight, gx, *sizes, mode="fast"
    ).raise_for_findings()
    _backward("grad_weight").launch(
        gw.numel(), _THREADS, x, gy, gw, n, *sizes, shared_bytes=4 * _THREADS, mode="fast"
    ).raise_for_findings()
    return gx, gw


@kernel_conv2d_backward.register_fake
def _(gy, x, weight, stride, padding, dilation):
    return torch.empty_like(x), torch.empty_like(weight)


def _setup(ctx, inputs, output):
    x, weight, _, ctx.stride, ctx.padding, ctx.dilation, _ = inputs
    ctx.save_for_backward(x, weight)


def _autograd(ctx, gy):
    gx, gw = kernel_conv2d_backward(gy, *ctx.saved_tensors, ctx.stride, ctx.padding, ctx.dilation)
    return gx, gw, gy.sum((0, 2, 3)), None, None, None, None


kernel_conv2d.register_autograd(_autograd, setup_context=_setup)


class KernelConv2d(nn.Module):
    """A convolution whose forward pass is a CUDA kernel of one's own, on CPU tensors and on a GPU.

    Weights and defaults are those of ``nn.Conv2d`` with a square filter, so state dicts fit. The
    backward pass runs the kernels of ``kernels/backward.cu``.

    Parameters
    ----------
    in_channels, out_channels, kernel_size, stride, padding, dilation : as ``nn.Conv2d``, integers
    source : the kernel's text, with the parameters of ``kernels/channels.cu`` (its default):
        ``x, weight, bias, y, C, H, W, O, K, stride, padding, dilation, OH, OW``; launched with
        128 threads along the pixels, output channels along ``blockIdx.y``, images along
        ``blockIdx.z``
    name : the kernel, where the source has several

    Shape: input ``(N, in_channels, H, W)``, float32; output ``(N, out_channels, OH, OW)``.
    """

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        stride: int = 1,
        padding: int = 0,
        dilation: int = 1,
        *,
        source: str | None = None,
        name: str = "",
        device=None,
        dtype=None,
    ):
        super().__init__()
        if dtype not in (None, torch.float32):
            raise ValueError(f"the kernels compute in float32, dtype is {dtype}")
        like = nn.Conv2d(
            in_channels, out_channels, kernel_size, stride, padding, dilation, device=device
        )
        self.weight, self.bias = like.weight, like.bias
        self.stride, self.padding, self.dilation = stride, padding, dilation
        kernel = _compile(source or (_KERNELS / "channels.cu").read_text(), name)
        self._kernel = id(kernel)
        _forward[self._kernel] = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return kernel_conv2d(
            x, self.weight, self.bias, self.stride, self.padding, self.dilation, self._kernel
        )

    def extra_repr(self) -> str:
        o, c, k, _ = self.weight.shape
        sizes = f"{c}, {o}, kernel_size={k}, stride={self.stride}, padding={self.padding}"
        return f"{sizes}, {_forward[self._kernel]!r}"
