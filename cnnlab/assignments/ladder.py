# ruff: noqa: E501 (one rung a paragraph)
"""The ladder: one spec for each rung, with a reference kernel in `cnnlab.cuda.ladder` that passes it.

Every rung is judged on the sizes that catch people out: 1×1, 1×N, N×1, no multiple of the block,
smaller than the filter, not square; with filters of 1, 3, 5 and 7, random, neither symmetric nor
positive; in two block shapes and two schedules.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from cnnlab.assignments.sources import Limit, SourceCase, SourceSpec
from cnnlab.cuda.ladder import reference_source
from cnnlab.simulator.report import Report

__all__ = ["LADDER", "Rung"]


@dataclass(frozen=True)
class Rung:
    """One exercise: what it is about, the file that holds its reference, and its spec."""

    title: str
    file: str
    spec: SourceSpec

    @property
    def source(self) -> str:
        return reference_source(self.file)


def _grid(outputs: tuple[int, ...], each: tuple[int, ...]) -> tuple[int, ...]:
    """Blocks enough for so many outputs along each axis, of which a block computes `each`."""
    return tuple(-(-n // m) for n, m in zip(outputs, each, strict=True))


def _random(shape, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _bytes(shape, most: int, generator: torch.Generator) -> torch.Tensor:
    return torch.randint(0, most, shape, generator=generator, dtype=torch.uint8)


def _convolved(x, weight, **options):
    """Float64 cross-correlation, and the sum of the products' magnitudes (what rounding scales with)."""
    x, weight = x.double(), weight.double()
    return F.conv2d(x, weight, **options), F.conv2d(x.abs(), weight.abs(), **options)


def _times(block: tuple[int, ...]) -> str:
    return "×".join(map(str, block))


# ---- one image, one filter ----------------------------------------------------------------------

SIZES = [(1, 1), (1, 9), (7, 1), (3, 2), (16, 16), (19, 37), (33, 18)]
FILTERS = [1, 3, 5, 7]
_IMAGES: dict[str, tuple[str, Callable, Callable]] = {
    # the kernel, the outputs of a block along x and y, its arguments (x, taps, y, k, h, w)
    "uchar": ("conv2d", lambda b: b, lambda x, f, y, k, h, w: (x, f, y, k, w, h)),
    "coalescing": ("conv2d", lambda b: b, lambda x, f, y, k, h, w: (x, f, y, k, h, w)),
    "constant": ("conv2d", lambda b: b, lambda x, f, y, k, h, w: (x, y, k, h, w)),
    "tiled": ("conv2d<{k}, {x}>", lambda b: b, lambda x, f, y, k, h, w: (x, y, h, w)),
    "coarsened": (
        "conv2d<{k}, {x}, {y}, 8>", lambda b: (b[0], 8 * b[1]), lambda x, f, y, k, h, w: (x, y, h, w)
    ),
    "streaming": (
        "conv2d<{k}, {y}, 8>", lambda b: (120 * b[1], 8), lambda x, f, y, k, h, w: (x, y, h, w)
    ),
}  # fmt: skip


def _image_case(rung: str, seed: int, h: int, w: int, k: int, block, reverse=False) -> SourceCase:
    name, covers, arguments = _IMAGES[rung]
    if whole := rung == "uchar":
        generator = torch.Generator().manual_seed(seed)
        image, taps = _bytes((h, w), 256, generator), _bytes((k, k), 4, generator)
    else:
        image, taps = _random((h, w), seed), _random((k, k), seed + 1)
    y, scale = _convolved(image[None, None], taps[None, None], padding=k // 2)
    out = torch.empty_like(image)
    given = arguments(image, taps, out, k, h, w)
    return SourceCase(
        label=f"a {h}×{w} image with a {k}×{k} filter, block {_times(block)}",
        name=name.format(k=k, x=block[0], y=block[1]),
        grid=_grid((w, h), covers(block)),
        block=block,
        arguments=given,
        output=next(i for i, a in enumerate(given) if a is out),
        expected=y[0, 0].clamp(max=255) if whole else y[0, 0],
        scale=scale[0, 0],
        constants={} if any(a is taps for a in given) else {"filter": taps},
        reverse=reverse,
    )


def _images(rung: str, blocks, *limits: Limit) -> SourceSpec:
    def cases(seed: int) -> list[SourceCase]:
        sizes = [(h, w, k) for k in FILTERS for h, w in SIZES]
        made = [
            _image_case(rung, seed + 2 * i, *size, blocks[i % 2], i // 2 % 2 == 1)
            for i, size in enumerate(sizes)
        ]
        return made + [
            _image_case(rung, seed + 100 + i, *size, 5, blocks[i], i == 0)
            for i, size in enumerate([(40, 67), (67, 40)])
        ]

    return SourceSpec(
        rung, cases, lambda seed: _image_case(rung, seed + 200, 128, 160, 5, blocks[0]), limits
    )


def _brighten_case(seed: int, h: int, w: int, block, reverse: bool) -> SourceCase:
    image = _random((h, w), seed)
    return SourceCase(
        label=f"a {h}×{w} image, block {_times(block)}",
        name="brighten",
        grid=_grid((w, h), block),
        block=block,
        arguments=(image, torch.empty(h, w), h, w),
        output=1,
        expected=2 * image.double() + 1,
        scale=2 * image.double().abs() + 1,
        reverse=reverse,
    )


def _layout_case(seed: int, n: int, c: int, p: int, block=(32, 8), reverse=False) -> SourceCase:
    x = _random((n, c, p), seed)
    return SourceCase(
        label=f"{n} images of {c} channels and {p} pixels, block {_times(block)}",
        name="to_channels_last",
        grid=(*_grid((p, c), (32, 32)), n),
        block=block,
        arguments=(x, torch.empty(n, p, c), c, p),
        output=1,
        expected=x.transpose(1, 2).double().contiguous(),
        scale=0.0,
        reverse=reverse,
    )


# ---- whole layers -------------------------------------------------------------------------------

_LAYERS = [  # N, C, H, W, O, K, stride, padding, dilation
    (1, 1, 1, 1, 1, 1, 1, 0, 1),
    (2, 3, 9, 7, 4, 3, 1, 1, 1),
    (1, 2, 5, 11, 3, 5, 1, 2, 1),
    (2, 3, 12, 10, 5, 3, 2, 1, 1),
    (1, 4, 13, 9, 2, 3, 1, 2, 2),
    (1, 1, 3, 3, 6, 7, 1, 3, 1),
    (2, 2, 8, 17, 3, 1, 3, 0, 1),
    (1, 3, 10, 10, 33, 3, 2, 0, 2),
]


def _layer_case(seed: int, layer, name: str, block, each: tuple[int, int], reverse) -> SourceCase:
    """A layer, of which a block computes `each` pixels and output channels."""
    n, c, h, w, o, k, stride, padding, dilation = layer
    x, weight, bias = (
        _random(s, seed + i) for i, s in enumerate([(n, c, h, w), (o, c, k, k), (o,)])
    )
    y, scale = _convolved(x, weight, stride=stride, padding=padding, dilation=dilation)
    per_channel = bias.double()[:, None, None]
    sizes = (c, h, w, o, k, stride, padding, dilation, *y.shape[2:])
    return SourceCase(
        label=f"{n}×{c}×{h}×{w} → {o} channels, {k}×{k}, stride {stride}, padding {padding}, dilation {dilation}",
        name=name.format(k=k, x=block[0]),
        grid=(*_grid((y[0, 0].numel(), o), each), n),
        block=block,
        arguments=(x, weight, bias, torch.empty(y.shape), *sizes),
        output=3,
        expected=y + per_channel,
        scale=scale + per_channel.abs(),
        reverse=reverse,
    )


def _layers(id: str, name: str, blocks, each: Callable, **options) -> SourceSpec:
    def cases(seed: int) -> list[SourceCase]:
        return [
            _layer_case(seed + 3 * i, layer, name, block, each(block), i % 3 == 0)
            for i, layer in enumerate(_LAYERS)
            for block in [blocks[i % 2]]
        ]

    return SourceSpec(id, cases, **options)


def _gemm_case(seed: int, m: int, n: int, k: int, t: int, reverse=False) -> SourceCase:
    a, b, bias = _random((m, k), seed), _random((k, n), seed + 1), _random((m,), seed + 2)
    return SourceCase(
        label=f"({m}×{k}) times ({k}×{n}) in tiles of {t}",
        name=f"gemm<{t}>",
        grid=_grid((n, m), (t, t)),
        block=(t, t),
        arguments=(a, b, bias, torch.empty(m, n), m, n, k),
        output=3,
        expected=a.double() @ b.double() + bias.double()[:, None],
        scale=a.double().abs() @ b.double().abs() + bias.double().abs()[:, None],
        reverse=reverse,
    )


def _wmma_case(seed: int, m: int, n: int, k: int, reverse: bool) -> SourceCase:
    a, b = _random((m, k), seed).half(), _random((k, n), seed + 1).half()
    return SourceCase(
        label=f"({m}×{k}) times ({k}×{n}) in half precision",
        name="gemm",
        grid=_grid((n, m), (16, 16)),
        block=(32,),
        arguments=(a, b, torch.empty(m, n), m, n, k),
        output=2,
        expected=a.double() @ b.double(),
        scale=a.double().abs() @ b.double().abs(),
        reverse=reverse,
    )


# ---- the rungs ----------------------------------------------------------------------------------


def _loads(space: str, bound: float, sentence: str, aspect: str = "") -> Limit:
    return Limit(
        aspect or f"{space} loads", lambda report: report.per_output(space), bound, sentence
    )


def _small_tile(bound: float) -> Limit:
    return _loads("global", bound, f"A tile allows {bound:g} global loads an output, not 25")


def _coalesced(sentence: str) -> Limit:
    return Limit(
        "coalescing", Report.sectors_per_request, 5.0, f"{sentence}: at most 5 sectors a request"
    )


_SHAPES = [(1, 1, 1), (2, 3, 49), (1, 33, 31), (3, 64, 40), (1, 1, 100), (2, 40, 1)]
_GEMMS = [(1, 1, 1), (1, 40, 9), (33, 1, 17), (16, 16, 16), (35, 29, 50), (5, 70, 3), (20, 20, 1)]
_WMMAS = [(1, 1, 1), (16, 16, 16), (17, 40, 9), (33, 1, 17), (5, 30, 50), (32, 48, 64)]
_BLOCKS, _LONG = [(16, 16), (32, 8)], [(32, 4), (64, 2)]

LADDER: dict[str, Rung] = {
    "index": Rung("Which element is mine?", "index.cu", SourceSpec(
        "index",
        lambda seed: [_brighten_case(seed + i, *s, [(16, 16), (32, 4)][i % 2], i % 3 == 0) for i, s in enumerate(SIZES * 2)],
    )),
    "uchar": Rung("The lecture's kernel, mended", "uchar.cu", _images("uchar", _BLOCKS)),
    "coalescing": Rung("Coalescing", "coalescing.cu", _images(
        "coalescing", [(32, 8), (32, 4)], _coalesced("Neighbouring threads should read neighbouring pixels"),
    )),
    "constant": Rung("Constant memory", "constant.cu", _images(
        "constant", _BLOCKS,
        _loads("global", 25.5, "With the filter in constant memory, 25 global loads an output suffice"),
        Limit("broadcast", Report.constant_words, 3.0, "All threads of a warp should read the same filter tap at once"),
    )),
    "tiled": Rung("A shared tile with its halo", "tiled.cu", _images("tiled", [(16, 16), (32, 32)], _small_tile(2.0))),
    "layout": Rung("Bank conflicts", "layout.cu", SourceSpec(
        "layout",
        lambda seed: [_layout_case(seed + i, *s, (32, (8, 4)[i % 2]), i % 3 == 0) for i, s in enumerate(_SHAPES)],
        lambda seed: _layout_case(seed, 2, 64, 128),
        (Limit("bank conflicts", Report.bank_conflict, 1.1, "Pad the tile, so that a column lies in 32 banks"),
         _coalesced("Read and write along rows")),
    )),
    "coarsened": Rung("Several outputs a thread", "coarsened.cu", _images(
        "coarsened", _LONG, _small_tile(2.0),
        Limit(
            "loads",
            lambda report: report.per_output("shared") + report.per_output("global"),
            14.0,
            "Keep words in registers: at most 14 loads an output, shared and global together",
        ),
    )),
    "streaming": Rung("Rows that flow through registers", "streaming.cu", _images(
        "streaming", [(32, 4), (32, 1)], _small_tile(1.6),
        _loads("shared", 0.0, "What neighbours hold comes by shuffles: no load from shared memory", "no shared memory"),
    )),
    "channels": Rung("A whole layer, directly", "channels.cu", _layers(
        "channels", "conv2d", [(64, 1), (32, 1)], lambda block: (block[0], 1),
    )),
    "gemm": Rung("A matrix product in tiles", "im2col.cu", SourceSpec(
        "gemm",
        lambda seed: [_gemm_case(seed + 3 * i, *s, (16, 8)[i % 2], i % 3 == 0) for i, s in enumerate(_GEMMS)],
        lambda seed: _gemm_case(seed, 64, 64, 64, 16),
        (Limit("global loads", lambda report: report.per_output("global") / 64, 0.15, "A tile of 16 allows 2/16 global loads a multiplication"),),
    )),
    "implicit_gemm": Rung("The matrix product without the matrix", "implicit_gemm.cu", _layers(
        "implicit_gemm", "conv2d<{x}, 4>", [(8, 8), (4, 4)], lambda block: (4 * block[0], 4 * block[0]),
    )),
    "wmma": Rung("Tensor cores", "wmma.cu", SourceSpec(
        "wmma", lambda seed: [_wmma_case(seed + 2 * i, *s, i % 2 == 1) for i, s in enumerate(_WMMAS)],
    )),
    "tensor_conv": Rung("A layer on tensor cores", "tensor_conv.cu", _layers(
        "tensor_conv", "conv2d<{k}>", [(256,), (256,)], lambda block: (128, 64),
        tolerance=1e-3,  # of TF32's 11 bits
    )),
}  # fmt: skip
