# ruff: noqa: E501 (one rung a paragraph)
"""The ladder: one spec for each rung, with a reference kernel in ``kernels/`` that passes it.

Every rung is judged on the sizes that catch people out: 1×1, 1×N, N×1, no multiple of the block,
smaller than the filter, not square; with filters of 1, 3, 5 and 7, random, neither symmetric nor
positive; in two block shapes and two schedules.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import torch
import torch.nn.functional as F

from cnnlab.cuda.grading import Limit, SourceCase, SourceSpec
from cnnlab.cuda.report import Report

__all__ = ["LADDER", "Rung", "reference_source"]

SIZES = [(1, 1), (1, 9), (7, 1), (3, 2), (16, 16), (19, 37), (33, 18)]
FILTERS = [1, 3, 5, 7]


def reference_source(file: str) -> str:
    """The text of a reference kernel, such as ``"tiled.cu"``."""
    return (Path(__file__).parent / "kernels" / file).read_text()


@dataclass(frozen=True)
class Rung:
    """One exercise: what it is about, the file that holds its reference, and its spec."""

    title: str
    file: str
    spec: SourceSpec

    @property
    def source(self) -> str:
        return reference_source(self.file)


def _ceil(a: int, b: int) -> int:
    return -(-a // b)


def _random(shape, seed: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def _sum_of_products(x, weight, **options):
    """Float64 cross-correlation, and the sum of the products' magnitudes (what rounding scales with)."""
    x, weight = x.double(), weight.double()
    return F.conv2d(x, weight, **options), F.conv2d(x.abs(), weight.abs(), **options)


Launcher = Callable[[torch.Tensor, torch.Tensor, tuple[int, int]], dict]


def _image_case(
    seed: int, h: int, w: int, k: int, block, launch: Launcher, reverse=False, integer=False
):
    if integer:
        generator = torch.Generator().manual_seed(seed)
        image = torch.randint(0, 256, (h, w), generator=generator, dtype=torch.uint8)
        taps = torch.randint(0, 4, (k, k), generator=generator, dtype=torch.uint8)
    else:
        image, taps = _random((h, w), seed), _random((k, k), seed + 1)

    def conv(weight):
        y, scale = _sum_of_products(image[None, None], weight[None, None], padding=k // 2)
        y = y[0, 0].clamp(max=255) if integer else y[0, 0]
        return y, scale[0, 0]

    expected, scale = conv(taps)
    out = torch.empty(h, w, dtype=torch.uint8 if integer else torch.float32)
    alternatives = {
        "The filter is applied upside down: deep learning's convolution does not flip it.": conv(
            taps.flip(0, 1)
        )[0],
        "The filter's rows and columns are exchanged.": conv(taps.T.contiguous())[0],
    }
    if integer:
        whole, _ = _sum_of_products(image[None, None], taps[None, None], padding=k // 2)
        alternatives["Sums above 255 wrap around; clamp them before they become 8 bits."] = (
            whole[0, 0] % 256
        )
    return SourceCase(
        label=f"a {h}×{w} image with a {k}×{k} filter, block {'×'.join(map(str, block))}",
        block=block,
        expected=expected,
        scale=scale,
        reverse=reverse,
        alternatives=alternatives,
        **launch(image, taps, out, block),
    )


def _image_spec(
    id: str, blocks, launch, limits=(), integer=False, measured=(128, 160, 5)
) -> SourceSpec:
    def cases(seed: int) -> list[SourceCase]:
        made = []
        for k in FILTERS:
            for h, w in SIZES:
                i = len(made)
                made.append(
                    _image_case(
                        seed + 2 * i, h, w, k, blocks[i % 2], launch, i // 2 % 2 == 1, integer
                    )
                )
        for i, (h, w) in enumerate([(40, 67), (67, 40)]):
            made.append(_image_case(seed + 100 + i, h, w, 5, blocks[i], launch, i == 0, integer))
        return made

    def large(seed: int) -> SourceCase:
        h, w, k = measured
        return _image_case(seed + 200, h, w, k, blocks[0], launch, integer=integer)

    return SourceSpec(id, cases, large, tuple(limits))


def _grid(block, h, w):
    return _ceil(w, block[0]), _ceil(h, block[1])


def _global_filter(image, taps, out, block):
    h, w = image.shape
    k = taps.shape[0]
    return {
        "name": "conv2d",
        "grid": _grid(block, h, w),
        "arguments": (image, taps, out, k, h, w),
        "output": 2,
    }


def _uchar(image, taps, out, block):
    h, w = image.shape
    k = taps.shape[0]
    return {
        "name": "conv2d",
        "grid": _grid(block, h, w),
        "arguments": (image, taps, out, k, w, h),
        "output": 2,
    }


def _constant(image, taps, out, block):
    h, w = image.shape
    return {
        "name": "conv2d",
        "grid": _grid(block, h, w),
        "arguments": (image, out, taps.shape[0], h, w),
        "output": 1,
        "constants": {"filter": taps},
    }


def _tiled(image, taps, out, block):
    h, w = image.shape
    return {
        "name": f"conv2d<{taps.shape[0]}, {block[0]}>",
        "grid": _grid(block, h, w),
        "arguments": (image, out, h, w),
        "output": 1,
        "constants": {"filter": taps},
    }


def _coarsened(image, taps, out, block):
    h, w = image.shape
    width, strips = block
    return {
        "name": f"conv2d<{taps.shape[0]}, {width}, {strips}, 8>",
        "grid": (_ceil(w, width), _ceil(h, 8 * strips)),
        "arguments": (image, out, h, w),
        "output": 1,
        "constants": {"filter": taps},
    }


def _streaming(image, taps, out, block):
    h, w = image.shape
    width, strips = block
    return {
        "name": f"conv2d<{taps.shape[0]}, {width}, {strips}, 8>",
        "grid": (_ceil(w, 4 * width), _ceil(h, 8 * strips)),
        "arguments": (image, out, h, w),
        "output": 1,
        "constants": {"filter": taps},
    }


def _brighten_case(seed: int, h: int, w: int, block, reverse=False) -> SourceCase:
    image = _random((h, w), seed)
    return SourceCase(
        label=f"a {h}×{w} image, block {'×'.join(map(str, block))}",
        name="brighten",
        grid=_grid(block, h, w),
        block=block,
        arguments=(image, torch.empty(h, w), h, w),
        output=1,
        expected=2 * image.double() + 1,
        scale=2 * image.double().abs() + 1,
        reverse=reverse,
    )


def _brighten(seed: int) -> list[SourceCase]:
    blocks = [(16, 16), (32, 4)]
    return [
        _brighten_case(seed + i, h, w, blocks[i % 2], i % 3 == 0)
        for i, (h, w) in enumerate(SIZES * 2)
    ]


def _layout(seed: int) -> list[SourceCase]:
    shapes = [(1, 1, 1), (2, 3, 49), (1, 33, 31), (3, 64, 40), (1, 1, 100), (2, 40, 1)]
    return [
        _layout_case(seed + i, *s, (32, (8, 4)[i % 2]), i % 3 == 0) for i, s in enumerate(shapes)
    ]


def _layout_case(seed: int, n: int, c: int, p: int, block=(32, 8), reverse=False) -> SourceCase:
    x = _random((n, c, p), seed)
    return SourceCase(
        label=f"{n} images of {c} channels and {p} pixels, block {block[0]}×{block[1]}",
        name="to_channels_last",
        grid=(_ceil(p, 32), _ceil(c, 32), n),
        block=block,
        arguments=(x, torch.empty(n, p, c), c, p),
        output=1,
        expected=x.transpose(1, 2).double().contiguous(),
        scale=0.0,
        reverse=reverse,
    )


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


def _layer_tensors(seed: int, layer):
    n, c, h, w, o, k, stride, padding, dilation = layer
    x, weight, bias = (
        _random((n, c, h, w), seed),
        _random((o, c, k, k), seed + 1),
        _random((o,), seed + 2),
    )
    y, scale = _sum_of_products(x, weight, stride=stride, padding=padding, dilation=dilation)
    y = y + bias.double()[:, None, None]
    label = f"{n}×{c}×{h}×{w} → {o} channels, {k}×{k}, stride {stride}, padding {padding}, dilation {dilation}"
    return x, weight, bias, y, scale + bias.double().abs()[:, None, None], label


def _layer_case(seed: int, layer, block, reverse=False, implicit=False) -> SourceCase:
    x, weight, bias, y, scale, label = _layer_tensors(seed, layer)
    n, c, h, w, o, k, stride, padding, dilation = layer
    pixels = y.shape[2] * y.shape[3]
    side = 4 * block[0]
    return SourceCase(
        label=label,
        name=f"conv2d<{block[0]}, 4>" if implicit else "conv2d",
        grid=(_ceil(pixels, side), _ceil(o, side), n)
        if implicit
        else (_ceil(pixels, block[0]), o, n),
        block=block,
        arguments=(
            x,
            weight,
            bias,
            torch.empty(y.shape),
            c,
            h,
            w,
            o,
            k,
            stride,
            padding,
            dilation,
            *y.shape[2:],
        ),
        output=3,
        expected=y,
        scale=scale,
        reverse=reverse,
    )


def _tensor_case(seed: int, layer, reverse=False) -> SourceCase:
    case = _layer_case(seed, layer, (32,), reverse)
    n, pixels, o = layer[0], case.expected[0, 0].numel(), layer[4]
    grid = (_ceil(pixels, 128), _ceil(o, 64), n)
    return replace(case, name=f"conv2d<{layer[5]}>", grid=grid, block=(256,))


def _layers(blocks, implicit=False):
    def cases(seed: int) -> list[SourceCase]:
        return [
            _layer_case(seed + 3 * i, layer, blocks[i % 2], i % 3 == 0, implicit)
            for i, layer in enumerate(_LAYERS)
        ]

    return cases


def _gemm_case(seed: int, m: int, n: int, k: int, t: int, reverse=False) -> SourceCase:
    a, b, bias = _random((m, k), seed), _random((k, n), seed + 1), _random((m,), seed + 2)
    return SourceCase(
        label=f"({m}×{k}) times ({k}×{n}) in tiles of {t}",
        name=f"gemm<{t}>",
        grid=(_ceil(n, t), _ceil(m, t)),
        block=(t, t),
        arguments=(a, b, bias, torch.empty(m, n), m, n, k),
        output=3,
        expected=a.double() @ b.double() + bias.double()[:, None],
        scale=a.double().abs() @ b.double().abs() + bias.double().abs()[:, None],
        reverse=reverse,
    )


def _gemms(seed: int) -> list[SourceCase]:
    shapes = [
        (1, 1, 1),
        (1, 40, 9),
        (33, 1, 17),
        (16, 16, 16),
        (35, 29, 50),
        (5, 70, 3),
        (20, 20, 1),
    ]
    return [_gemm_case(seed + 3 * i, *s, (16, 8)[i % 2], i % 3 == 0) for i, s in enumerate(shapes)]


def _wmma_case(seed: int, m: int, n: int, k: int, reverse=False) -> SourceCase:
    a, b = _random((m, k), seed).half(), _random((k, n), seed + 1).half()
    return SourceCase(
        label=f"({m}×{k}) times ({k}×{n}) in half precision",
        name="gemm",
        grid=(_ceil(n, 16), _ceil(m, 16)),
        block=(32,),
        arguments=(a, b, torch.empty(m, n), m, n, k),
        output=2,
        expected=a.double() @ b.double(),
        scale=a.double().abs() @ b.double().abs(),
        reverse=reverse,
    )


def _wmmas(seed: int) -> list[SourceCase]:
    shapes = [(1, 1, 1), (16, 16, 16), (17, 40, 9), (33, 1, 17), (5, 30, 50), (32, 48, 64)]
    return [_wmma_case(seed + 2 * i, *s, i % 2 == 1) for i, s in enumerate(shapes)]


def _loads(space: str):
    return lambda report: report.per_output(space)


def _gemm_loads(report: Report) -> float:
    return report.per_output("global") / 64


def _small_tile(bound: float) -> Limit:
    return Limit(
        "global loads",
        _loads("global"),
        bound,
        f"A tile allows {bound:g} global loads an output, not 25",
    )


_BLOCKS, _SQUARE, _LINES = [(16, 16), (32, 8)], [(16, 16), (32, 32)], [(64, 1), (32, 1)]
_COALESCED = Limit(
    "coalescing",
    lambda r: r.sectors_per_request(),
    5.0,
    "Neighbouring threads should read neighbouring pixels: at most 5 sectors a request",
)
_BROADCAST = Limit(
    "broadcast",
    lambda r: r.constant_words(),
    3.0,
    "All threads of a warp should read the same filter tap at once",
)
_NO_FILTER_LOADS = Limit(
    "global loads",
    _loads("global"),
    25.5,
    "With the filter in constant memory, 25 global loads an output suffice",
)

_NO_SHARED = Limit(
    "no shared memory",
    lambda r: r.count("shared", "loads"),
    0.0,
    "What neighbours hold comes by shuffles: no load from shared memory",
)

LADDER: dict[str, Rung] = {
    "index": Rung("Which element is mine?", "index.cu", SourceSpec("index", _brighten)),
    "uchar": Rung("The lecture's kernel, mended", "uchar.cu", _image_spec("uchar", _BLOCKS, _uchar, integer=True)),
    "coalescing": Rung(
        "Coalescing",
        "coalescing.cu",
        _image_spec("coalescing", [(32, 8), (32, 4)], _global_filter, [_COALESCED]),
    ),
    "constant": Rung(
        "Constant memory", "constant.cu", _image_spec("constant", _BLOCKS, _constant, [_NO_FILTER_LOADS, _BROADCAST])
    ),
    "tiled": Rung(
        "A shared tile with its halo", "tiled.cu", _image_spec("tiled", _SQUARE, _tiled, [_small_tile(2.0)])
    ),
    "layout": Rung(
        "Bank conflicts",
        "layout.cu",
        SourceSpec(
            "layout",
            _layout,
            lambda seed: _layout_case(seed, 2, 64, 128),
            (
                Limit("bank conflicts", lambda r: r.bank_conflict(), 1.1, "Pad the tile, so that a column lies in 32 banks"),
                Limit("coalescing", lambda r: r.sectors_per_request(), 5.0, "Read and write along rows: at most 5 sectors a request"),
            ),
        ),
    ),
    "coarsened": Rung(
        "Several outputs a thread",
        "coarsened.cu",
        _image_spec(
            "coarsened",
            [(32, 4), (64, 2)],
            _coarsened,
            [
                _small_tile(2.0),
                Limit(
                    "loads",
                    lambda r: r.per_output("shared") + r.per_output("global"),
                    14.0,
                    "Keep words in registers: at most 14 loads an output, shared and global together",
                ),
            ],
        ),
    ),
    "streaming": Rung(
        "Rows that flow through registers",
        "streaming.cu",
        _image_spec("streaming", [(32, 4), (64, 2)], _streaming, [_small_tile(1.6), _NO_SHARED]),
    ),
    "channels": Rung("A whole layer, directly", "channels.cu", SourceSpec("channels", _layers(_LINES))),
    "gemm": Rung(
        "A matrix product in tiles",
        "im2col.cu",
        SourceSpec(
            "gemm",
            _gemms,
            lambda seed: _gemm_case(seed, 64, 64, 64, 16),
            (Limit("global loads", _gemm_loads, 0.15, "A tile of 16 allows 2/16 global loads a multiplication"),),
        ),
    ),
    "implicit_gemm": Rung(
        "The matrix product without the matrix",
        "implicit_gemm.cu",
        SourceSpec("implicit_gemm", _layers([(8, 8), (4, 4)], implicit=True)),
    ),
    "wmma": Rung("Tensor cores", "wmma.cu", SourceSpec("wmma", _wmmas)),
    "tensor_conv": Rung(
        "A layer on tensor cores",
        "tensor_conv.cu",
        SourceSpec(
            "tensor_conv",
            lambda seed: [_tensor_case(seed + 3 * i, x, i % 3 == 0) for i, x in enumerate(_LAYERS)],
            tolerance=1e-3,  # of TF32's 11 bits
        ),
    ),
}  # fmt: skip
