"""A kernel as a layer: a student's own CUDA convolution inside a network that trains."""

from functools import cache

import torch
from torch import nn

from cnnlab.cuda.kernel import Kernel, compile
from cnnlab.cuda.ladder import reference_source
from cnnlab.shapes import output_size

__all__ = ["KernelConv2d"]

_THREADS = 128
_forward: dict[int, Kernel] = {}  # an operator takes tensors and numbers: kernels go by number


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
    return _compile(reference_source("backward.cu"), name)


def _launch(kernel: Kernel, grid, *arguments, **options) -> None:
    """One thread an element: a grid for a tensor (N, C, H, W) has images along z, channels y."""
    if isinstance(grid, torch.Tensor):
        n, c, h, w = grid.shape
        grid = (-(-h * w // _THREADS), c, n)
    arguments = [a.contiguous() if isinstance(a, torch.Tensor) else a for a in arguments]
    kernel.launch(grid, _THREADS, *arguments, **options, mode="fast").raise_for_findings()


# In what follows ``steps`` are stride, padding and dilation.


def _sizes(x, weight, steps, y) -> tuple[int, ...]:
    return (*x.shape[1:], weight.shape[0], weight.shape[2], *steps, *y.shape[2:])


@torch.library.custom_op("cnnlab::kernel_conv2d", mutates_args=())
def kernel_conv2d(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, steps: list[int], kernel: int
) -> torch.Tensor:
    y = _output(x, weight, bias, steps, kernel)
    _launch(_forward[kernel], y, x, weight, bias, y, *_sizes(x, weight, steps, y))
    return y


@kernel_conv2d.register_fake
def _output(x, weight, bias, steps, kernel):
    named = dict(zip(("stride", "padding", "dilation"), steps, strict=True))
    sides = [output_size(side, weight.shape[-1], **named) for side in x.shape[2:]]
    return x.new_empty(x.shape[0], weight.shape[0], *sides)


@torch.library.custom_op("cnnlab::kernel_conv2d_backward", mutates_args=())
def kernel_conv2d_backward(
    gy: torch.Tensor, x: torch.Tensor, weight: torch.Tensor, steps: list[int]
) -> tuple[torch.Tensor, torch.Tensor]:
    gx, gw = _gradients(gy, x, weight, steps)
    sizes = _sizes(x, weight, steps, gy)
    _launch(_backward("grad_input"), gx, gy, weight, gx, *sizes)
    shared = {"shared_bytes": 4 * _THREADS}
    _launch(_backward("grad_weight"), gw.numel(), x, gy, gw, len(x), *sizes, **shared)
    return gx, gw


@kernel_conv2d_backward.register_fake
def _gradients(gy, x, weight, steps):
    return x.new_empty(x.shape), weight.new_empty(weight.shape)


def _setup(ctx, inputs, output):
    x, weight, _, ctx.steps, _ = inputs
    ctx.save_for_backward(x, weight)


def _autograd(ctx, gy):
    gx, gw = kernel_conv2d_backward(gy, *ctx.saved_tensors, ctx.steps)
    return gx, gw, gy.sum((0, 2, 3)), None, None


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
        self.steps = [stride, padding, dilation]
        kernel = _compile(source or reference_source("channels.cu"), name)
        self._kernel = id(kernel)
        _forward[self._kernel] = kernel

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return kernel_conv2d(x, self.weight, self.bias, self.steps, self._kernel)

    def extra_repr(self) -> str:
        o, c, k, _ = self.weight.shape
        stride, padding, dilation = self.steps
        sizes = f"{c}, {o}, kernel_size={k}, stride={stride}, padding={padding}"
        return f"{sizes}, dilation={dilation}, {_forward[self._kernel]!r}"
