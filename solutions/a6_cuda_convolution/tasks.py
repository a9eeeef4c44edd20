# ruff: noqa: E501 (pieces of kernels)
"""Tasks of assignment 6: convolution in CUDA C++.

The rungs are those of `cnnlab.assignments.ladder`, with its sizes, blocks and limits, but each asks for
another kernel than the one that the ladder holds.
"""

from collections.abc import Callable
from dataclasses import replace

import torch
import torch.nn.functional as F

from cnnlab.assignments.kernels import altered_source, kernel_task
from cnnlab.assignments.ladder import LADDER
from cnnlab.assignments.sources import SourceCase, SourceSpec
from cnnlab.assignments.variant import Variant
from cnnlab.checks.task import Misconception, Task


def _variant(rung: str, change: Callable[[SourceCase], SourceCase]) -> SourceSpec:
    """A rung's spec with each of its cases changed."""
    spec = LADDER[rung].spec
    measured = spec.measured and (lambda seed: change(spec.measured(seed)))
    return replace(
        spec, cases=lambda seed: [change(case) for case in spec.cases(seed)], measured=measured
    )


def _sums(image, taps, mode):
    """The sums of products in float64, and of the products' magnitudes."""
    half = taps.shape[0] // 2
    padded = F.pad(image.double()[None, None], [half] * 4, mode)
    weight = taps.double()[None, None]
    return F.conv2d(padded, weight)[0, 0], F.conv2d(padded.abs(), weight.abs())[0, 0]


def _with_largest_filter(spec: SourceSpec) -> SourceSpec:
    """One case of the 7×7 filters gets one of 15×15, the largest that the text promises."""
    taps = torch.cos(torch.arange(225.0) ** 2).reshape(15, 15)

    def enlarged(case):
        image, out, *numbers = case.arguments
        arguments = (image, out, *(15 if n == 7 else n for n in numbers))
        return _with_edges_repeated(
            replace(
                case,
                label=case.label.replace("7×7", "15×15"),
                name=case.name.replace("<7", "<15"),
                arguments=arguments,
                constants={"filter": taps},
            )
        )

    def cases(seed):
        return [enlarged(case) if i == 25 else case for i, case in enumerate(spec.cases(seed))]

    return replace(spec, cases=cases)


def _with_edges_repeated(case: SourceCase) -> SourceCase:
    expected, scale = _sums(case.arguments[0], case.constants["filter"], "replicate")
    return replace(case, expected=expected, scale=scale)


# --- the warm-up: which element is mine? ---


def _mirrored(case: SourceCase) -> SourceCase:
    expected = case.arguments[0].flip(1).double()
    return replace(case, name="mirror", expected=expected, scale=0.0)


_MIRROR = """\
__global__ void mirror(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    out[row * w + col] = in[row * w + (w - 1 - col)];
}
"""


def _mirror(*changes):
    return altered_source(_MIRROR, *changes)


MIRROR = kernel_task(
    "a6-mirror",
    "mirror_source",
    {"correct": 6, "clean": 4},
    _variant("index", _mirrored),
    _MIRROR,
    {
        "copied": (
            _mirror(("(w - 1 - col)", "col")),
            "The picture comes out as it was: on the one side of the `=` count the columns from "
            "the right.",
        ),
        "upside down": (
            _mirror(("row * w + (w - 1 - col)", "(h - 1 - row) * w + col")),
            "Left and right change places; the rows stay where they are.",
        ),
        "turned round": (
            _mirror(("row * w + (w - 1 - col)", "h * w - 1 - (row * w + col)")),
            "Counting the whole array from its end turns the rows upside down too: only columns "
            "are mirrored.",
        ),
        "mirrored off by one": (
            _mirror(("w - 1 - col", "w - col")),
            "Columns count from 0 to w - 1: where does column 0 go, and where does your kernel "
            "look for it?",
        ),
        "no guard": (
            _mirror(("    if (row >= h || col >= w) return;\n", "")),
            "The grid is rounded up to whole blocks: threads beyond the last row or column have "
            "to leave.",
        ),
        "guard for the columns only": (
            _mirror(("row >= h || ", "")),
            "Threads below the last *row* write too, beyond the end of the array.",
        ),
        "guard off by one": (
            _mirror(("row >= h || col >= w", "row > h || col > w")),
            "Row h and column w do not exist: the last ones are h - 1 and w - 1.",
        ),
        "block forgotten": (
            _mirror(
                ("blockIdx.x * blockDim.x + threadIdx.x", "threadIdx.x"),
                ("blockIdx.y * blockDim.y + threadIdx.y", "threadIdx.y"),
            ),
            "threadIdx counts inside a block only; which block it is says blockIdx.",
        ),
        "same block index twice": (
            _mirror(("blockIdx.y * blockDim.y", "blockIdx.x * blockDim.y")),
            "The row follows from blockIdx.y, as the column does from blockIdx.x.",
        ),
        "x and y exchanged": (
            _mirror(
                (
                    "int col = blockIdx.x * blockDim.x + threadIdx.x",
                    "int row = blockIdx.x * blockDim.x + threadIdx.x",
                ),
                (
                    "int row = blockIdx.y * blockDim.y + threadIdx.y",
                    "int col = blockIdx.y * blockDim.y + threadIdx.y",
                ),
            ),
            "In this grid x counts columns and y counts rows.",
        ),
        "rows of h elements": (
            _mirror(("row * w", "row * h")),
            "A row has w elements: that is how far apart two rows lie in memory.",
        ),
        "blocks of 16": (
            _mirror(("blockDim.x", "16"), ("blockDim.y", "16")),
            "Blocks come in more than one shape: ask blockDim, not 16.",
        ),
    },
)


# --- the lecture's kernel: bytes, a signed filter, zeros around the image ---


def _signed(case: SourceCase) -> SourceCase:
    image, taps, out, *sizes = case.arguments
    taps = 3 * taps.to(torch.int8) - 4
    taps[len(taps) // 2, len(taps) // 2] = 5  # or a filter of one tap would leave nothing but zeros
    if len(taps) == 7:
        taps *= 8  # so that sums leave 16 bits
    sums, _ = _sums(image, taps, "constant")
    return replace(
        case,
        arguments=(image, taps, out, *sizes),
        expected=sums.clamp(0, 255),
    )


_BYTES = """\
__global__ void conv2d(const unsigned char* in, const signed char* filter, unsigned char* out,
                       int k, int w, int h) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    int sum = 0;
    for (int j = 0; j < k; ++j) {
        for (int i = 0; i < k; ++i) {
            int r = row - k / 2 + j, c = col - k / 2 + i;
            if (r >= 0 && r < h && c >= 0 && c < w) sum += in[r * w + c] * filter[j * k + i];
        }
    }
    out[row * w + col] = min(max(sum, 0), 255);
}
"""


def _bytes(*changes):
    return altered_source(_BYTES, *changes)


_FLIP = ("filter[j * k + i]", "filter[(k - 1 - j) * k + k - 1 - i]")
_TRANSPOSE = ("filter[j * k + i]", "filter[i * k + j]")
_FLIPPED = "The filter is not turned round: tap (0, 0) meets the pixel above and to the left."
_TRANSPOSED = "The filter lies row by row: tap (j, i) is element j · k + i."
_NO_GUARD = "The grid is rounded up to whole blocks: threads outside the image must not write."
_ONE_ROW = "The sum runs over all k · k taps: set it to zero once, before both loops."

BYTES = kernel_task(
    "a6-bytes",
    "bytes_source",
    {"correct": 10, "clean": 6},
    _variant("uchar", _signed),
    _BYTES,
    {
        "sums wrap around": (
            _bytes(("min(max(sum, 0), 255)", "(unsigned char)sum")),
            "A byte keeps a sum modulo 256: 260 becomes 4 and -1 becomes 255. Clamp before you "
            "store.",
        ),
        "clamped from above only": (
            _bytes(("min(max(sum, 0), 255)", "min(sum, 255)")),
            "This filter has negative taps: what becomes of a sum of -1 in an unsigned byte?",
        ),
        "clamped from below only": (
            _bytes(("min(max(sum, 0), 255)", "max(sum, 0)")),
            "Sums exceed 255 as well: what becomes of 260 in a byte?",
        ),
        "sum in 16 bits": (
            _bytes(("int sum", "short sum")),
            "49 products of a byte and a tap can leave the 16 bits of a short: sum in an int.",
        ),
        "magnitude for clamp": (
            _bytes(("max(sum, 0)", "sum < 0 ? -sum : sum")),
            "A negative sum becomes 0, not its magnitude.",
        ),
        "filter read as unsigned": (
            _bytes(("* filter[j * k + i]", "* (unsigned char)filter[j * k + i]")),
            "The taps are signed: as an unsigned byte -4 would be 252.",
        ),
        "filter upside down": (_bytes(_FLIP), _FLIPPED),
        "filter's rows and columns exchanged": (_bytes(_TRANSPOSE), _TRANSPOSED),
        "edges repeated": (
            _bytes(
                ("if (r >= 0 && r < h && c >= 0 && c < w) ", ""),
                ("in[r * w + c]", "in[min(max(r, 0), h - 1) * w + min(max(c, 0), w - 1)]"),
            ),
            "Here the image is surrounded by zeros: a pixel outside adds nothing.",
        ),
        "window not centred": (
            _bytes(("row - k / 2 + j, c = col - k / 2 + i", "row + j, c = col + i")),
            "The window lies around its pixel: it begins k / 2 rows above and k / 2 columns to "
            "the left.",
        ),
        "no test of the window": (
            _bytes(("if (r >= 0 && r < h && c >= 0 && c < w) ", "")),
            "At the edges the window hangs over: test row and column before you read.",
        ),
        "columns not tested": (
            _bytes((" && c >= 0 && c < w", "")),
            "Test the column as well: left of a row lies the end of the one before it.",
        ),
        "window's test off by one": (
            _bytes(("r < h", "r <= h"), ("c < w", "c <= w")),
            "Row h and column w do not exist: the last ones are h - 1 and w - 1.",
        ),
        "first row and column left out": (
            _bytes(("r >= 0", "r > 0"), ("c >= 0", "c > 0")),
            "Row 0 and column 0 belong to the image.",
        ),
        "no guard": (_bytes(("    if (row >= h || col >= w) return;\n", "")), _NO_GUARD),
        "last row of the sum only": (
            _bytes(
                ("    int sum = 0;\n", "    int sum;\n"),
                ("        for (int i", "        sum = 0;\n        for (int i"),
            ),
            _ONE_ROW,
        ),
        "width and height exchanged": (
            _bytes(("int k, int w, int h", "int k, int h, int w")),
            "As in the lecture, this kernel takes w before h: the order of the parameters is the "
            "order in which they are passed.",
        ),
    },
)


# --- the filter in constant memory; from here on the edges are repeated ---

_CONSTANT = """\
__constant__ float filter[15 * 15];

__global__ void conv2d(const float* in, float* out, int k, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row >= h || col >= w) return;
    float sum = 0.0f;
    for (int j = 0; j < k; ++j) {
        int r = min(max(row - k / 2 + j, 0), h - 1);
        for (int i = 0; i < k; ++i) {
            int c = min(max(col - k / 2 + i, 0), w - 1);
            sum += in[r * w + c] * filter[j * k + i];
        }
    }
    out[row * w + col] = sum;
}
"""
_ZEROS = "Outside the image lies what is nearest inside it, not zeros: the edge is repeated."


def _constant(*changes):
    return altered_source(_CONSTANT, *changes)


_R, _C = "min(max(row - k / 2 + j, 0), h - 1)", "min(max(col - k / 2 + i, 0), w - 1)"

CONSTANT = kernel_task(
    "a6-constant",
    "constant_source",
    {"correct": 8, "clean": 4, "global loads": 2, "broadcast": 2},
    _with_largest_filter(_variant("constant", _with_edges_repeated)),
    _CONSTANT,
    {
        "zeros around the image": (
            _constant(
                (_R, "row - k / 2 + j"),
                (_C, "col - k / 2 + i"),
                ("sum += in", "if (r >= 0 && r < h && c >= 0 && c < w) sum += in"),
            ),
            _ZEROS,
        ),
        "wrapped around": (
            _constant(
                (_R, "((row - k / 2 + j) % h + h) % h"), (_C, "((col - k / 2 + i) % w + w) % w")
            ),
            "Left of the image lies its first column again, not its last one: limit the index "
            "instead of wrapping it.",
        ),
        "rows not limited": (
            _constant((_R, "row - k / 2 + j")),
            "Rows above and below the image are limited too, not only the columns.",
        ),
        "columns not limited": (
            _constant((_C, "col - k / 2 + i")),
            "Columns left and right of the image are limited too, not only the rows.",
        ),
        "limited at one end only": (
            _constant((_R, "max(row - k / 2 + j, 0)"), (_C, "max(col - k / 2 + i, 0)")),
            "The window hangs over at the bottom and on the right as well: limit the index at "
            "both ends.",
        ),
        "limited to h and w": (
            _constant(("h - 1)", "h)"), ("w - 1)", "w)")),
            "The last row is h - 1 and the last column w - 1.",
        ),
        "filter upside down": (_constant(_FLIP), _FLIPPED),
        "filter's rows and columns exchanged": (_constant(_TRANSPOSE), _TRANSPOSED),
        "window not centred": (
            _constant((" - k / 2", "")),
            "The window lies around its pixel: it begins k / 2 above and to the left.",
        ),
        "filter of side 5": (
            _constant(("filter[j * k + i]", "filter[j * 5 + i]")),
            "The filter's side is k, which is not always the same.",
        ),
        "last row of the sum only": (
            _constant(
                ("    float sum = 0.0f;\n", "    float sum;\n"),
                ("        for (int i", "        sum = 0.0f;\n        for (int i"),
            ),
            _ONE_ROW,
        ),
        "no guard": (_constant(("    if (row >= h || col >= w) return;\n", "")), _NO_GUARD),
        "rows of h elements": (
            _constant(("r * w", "r * h"), ("row * w", "row * h")),
            "A row has w elements: that is how far apart two rows lie in memory.",
        ),
        "filter in global memory": (
            _constant(("__constant__", "__device__")),
            "A __device__ array lies in global memory: each tap is loaded again for each output. "
            "Which word puts it where it is broadcast?",
        ),
        "every thread at another tap": (
            _constant(
                (
                    "int i = 0; i < k; ++i) {",
                    "int n = 0; n < k; ++n) {\n            int i = (n + threadIdx.x) % k;",
                ),
            ),
            "The constant cache serves one word at a time: let all threads of a warp walk through "
            "the taps in the same order.",
        ),
    },
)


# --- counts, before the tile is built ---

V = Variant(
    lambda v: [
        f"An image of {v.rows} rows and {v.columns} columns",
        f"computes {v.tile}×{v.tile} outputs with a **{v.k}×{v.k}** filter",
        f"blocks = {-(-v.columns // 32)} * {-(-v.rows // 8)}  "
        f"# {v.columns} / 32 and {v.rows} / 8, rounded up",
        f"side = {v.tile} + {v.k} - 1",
        f"blocks * 32 * 8 - {v.rows} * {v.columns}",
        f"side**2 / {v.tile}**2",
    ],
    rows=(70, 50, 90, 110),
    columns=(100, 140, 170, 180),
    tile=(32, 16, 24),
    k=(7, 5, 9),
)
_H, _W, _T, _K = V.rows, V.columns, V.tile, V.k
_COUNTS = {
    "threads launched": (-(-_W // 32) * 32) * (-(-_H // 8) * 8),
    "idle threads": (-(-_W // 32) * 32) * (-(-_H // 8) * 8) - _W * _H,
    "sectors, along a row": 32 * 4 // 32,
    "sectors, down a column": 32,
    "global loads per output, tiled": (_T + _K - 1) ** 2 / _T**2,
    "bytes of a tile": 4 * (_T + _K - 1) ** 2,
}


def _miscounted(name, hint, **wrong):
    keys = dict(zip(("threads", "idle", "row", "column", "loads", "tile"), _COUNTS, strict=True))
    return Misconception(name, lambda: _COUNTS | {keys[k]: v for k, v in wrong.items()}, hint)


COUNTS = Task(
    id="a6-counts",
    kind="value",
    entry="counts",
    points=dict(zip(_COUNTS, (1, 1, 2, 2, 2, 2), strict=True)),
    reference=lambda: dict(_COUNTS),
    misconceptions=(
        _miscounted(
            "one thread a pixel",
            "Only whole blocks are launched: round the blocks up in both directions.",
            threads=_W * _H,
            idle=0,
        ),
        _miscounted(
            "blocks rounded down",
            f"{_W} / 32 and {_H} / 8 leave a rest, and its pixels need a block too: round up.",
            threads=(_W // 32) * (_H // 8) * 32 * 8,
        ),
        _miscounted(
            "blocks counted",
            "Each block has 32 · 8 threads: count threads, not blocks.",
            threads=-(-_W // 32) * -(-_H // 8),
        ),
        _miscounted(
            "rows and columns exchanged",
            "The block is 32 wide and 8 high: x, the columns, comes first.",
            threads=-(-_H // 32) * 32 * -(-_W // 8) * 8,
            idle=-(-_H // 32) * 32 * -(-_W // 8) * 8 - _W * _H,
        ),
        _miscounted(
            "one sector a thread, along a row",
            "Eight floats lie in one sector of 32 bytes: neighbours share it.",
            row=32,
        ),
        _miscounted(
            "one sector a warp",
            "A warp reads 32 floats of 4 bytes, a sector holds 32 bytes.",
            row=1,
        ),
        _miscounted(
            "bytes for sectors",
            "128 bytes are read; how many sectors of 32 bytes is that?",
            row=128,
        ),
        _miscounted(
            "columns read as rows",
            "Down a column two neighbours lie a whole row apart: no two share a sector.",
            column=4,
        ),
        _miscounted(
            "halo forgotten",
            f"The outputs at the tile's rim need pixels outside of it: {_K // 2} on each side.",
            loads=1.0,
            tile=4 * _T**2,
        ),
        _miscounted(
            "halo on one side",
            f"The window hangs over on both sides: {_K // 2} left and {_K // 2} right.",
            loads=(_T + _K // 2) ** 2 / _T**2,
            tile=4 * (_T + _K // 2) ** 2,
        ),
        _miscounted(
            "halo of 7",
            "A window of 7 reaches 3 pixels past the rim on each side: 6 more, not 7.",
            loads=(_T + _K) ** 2 / _T**2,
            tile=4 * (_T + _K) ** 2,
        ),
        _miscounted(
            "loads without a tile",
            f"{_K**2} loads an output is what the tile saves: a block loads its tile once, and shares.",
            loads=_K**2,
        ),
        _miscounted(
            "floats for bytes",
            "A float has 4 bytes.",
            tile=(_T + _K - 1) ** 2,
        ),
    ),
)


# --- a shared tile with its halo ---

_TILED = """\
__constant__ float filter[15 * 15];

template <int K, int TILE>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int SIDE = TILE + K - 1;
    __shared__ float tile[SIDE][SIDE];
    int top = (int)blockIdx.y * TILE - K / 2, left = (int)blockIdx.x * TILE - K / 2;
    for (int j = threadIdx.y; j < SIDE; j += TILE) {
        for (int i = threadIdx.x; i < SIDE; i += TILE) {
            int r = min(max(top + j, 0), h - 1), c = min(max(left + i, 0), w - 1);
            tile[j][i] = in[r * w + c];
        }
    }
    __syncthreads();
    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;
    if (row >= h || col >= w) return;
    float sum = 0.0f;
    for (int j = 0; j < K; ++j) {
        for (int i = 0; i < K; ++i) {
            sum += tile[threadIdx.y + j][threadIdx.x + i] * filter[j * K + i];
        }
    }
    out[row * w + col] = sum;
}
"""
_TILE_FLIP = ("filter[j * K + i]", "filter[(K - 1 - j) * K + K - 1 - i]")
_TILE_TRANSPOSE = ("filter[j * K + i]", "filter[i * K + j]")
_BARRIER = "    __syncthreads();\n"
_LEAVE = "    if (row >= h || col >= w) return;\n"
_PLACE = "    int row = blockIdx.y * TILE + threadIdx.y, col = blockIdx.x * TILE + threadIdx.x;\n"
_NEAREST = "int r = min(max(top + j, 0), h - 1), c = min(max(left + i, 0), w - 1);"
_IN_IMAGE = "in[min(max(row + j - K / 2, 0), h - 1) * w + min(max(col + i - K / 2, 0), w - 1)]"
_NO_BARRIER = (
    "A thread reads what others load, and nothing says that they have done so: the whole block "
    "has to meet in between."
)
_EARLY = (
    "A thread outside the image is still needed, to load and to meet the others at the barrier: "
    "let it leave after that."
)


def _tiled(*changes):
    return altered_source(_TILED, *changes)


TILED = kernel_task(
    "a6-tiled",
    "tiled_source",
    {"correct": 5, "clean": 5, "global loads": 12},
    _with_largest_filter(_variant("tiled", _with_edges_repeated)),
    _TILED,
    {
        "barrier missing": (_tiled((_BARRIER, "")), _NO_BARRIER),
        "return before the barrier": (
            _tiled(
                (_PLACE + _LEAVE, ""),
                ("    for (int j = threadIdx.y", _PLACE + _LEAVE + "    for (int j = threadIdx.y"),
            ),
            _EARLY,
        ),
        "barrier inside a branch": (
            _tiled((_BARRIER + _PLACE + _LEAVE, _PLACE + _LEAVE + _BARRIER)),
            "A barrier has to be reached by *all* threads of the block: it must not stand after "
            "a branch that some of them take.",
        ),
        "no halo loaded": (
            _tiled(
                (
                    "for (int j = threadIdx.y; j < SIDE; j += TILE)",
                    "for (int j = threadIdx.y + K / 2; j < TILE + K / 2; j += TILE)",
                ),
                (
                    "for (int i = threadIdx.x; i < SIDE; i += TILE)",
                    "for (int i = threadIdx.x + K / 2; i < TILE + K / 2; i += TILE)",
                ),
            ),
            "The tile is larger than the block: its rim has to be loaded too, so some threads load "
            "more than one pixel.",
        ),
        "one pixel a thread": (
            _tiled(("j += TILE", "j += SIDE"), ("i += TILE", "i += SIDE")),
            "There are more pixels in the tile than threads in the block: each thread has to go on "
            "until all are loaded.",
        ),
        "corners of the halo not loaded": (
            _tiled(
                (
                    "            int r =",
                    "            if ((j < K / 2 || j >= TILE + K / 2) && (i < K / 2 || i >= TILE + K / 2)) continue;\n            int r =",
                ),
            ),
            "The halo has four corners as well: the window of a corner output reaches into them.",
        ),
        "tile too small": (
            _tiled(
                ("TILE + K - 1;\n", "TILE + K / 2;\n"),
                ("j < SIDE", "j < TILE + K - 1"),
                ("i < SIDE", "i < TILE + K - 1"),
            ),
            "The halo lies on both sides of the tile: that is K - 1 more than TILE, not K / 2.",
        ),
        "zeros around the image": (
            _tiled(
                (_NEAREST, "int r = top + j, c = left + i;"),
                ("= in[r * w + c]", "= r >= 0 && r < h && c >= 0 && c < w ? in[r * w + c] : 0.0f"),
            ),
            _ZEROS,
        ),
        "rows and columns not limited": (
            _tiled((_NEAREST, "int r = top + j, c = left + i;")),
            "The halo of a block at the edge lies outside the image: limit row and column before "
            "you load.",
        ),
        "tile not centred": (
            _tiled(
                ("TILE - K / 2, left", "TILE, left"),
                ("(int)blockIdx.x * TILE - K / 2", "(int)blockIdx.x * TILE"),
            ),
            "The tile begins K / 2 above and to the left of the block's first output.",
        ),
        "tile's rows and columns exchanged": (
            _tiled(
                ("tile[threadIdx.y + j][threadIdx.x + i]", "tile[threadIdx.x + i][threadIdx.y + j]")
            ),
            "What was stored as tile[row][column] has to be read as tile[row][column].",
        ),
        "filter upside down": (_tiled(_TILE_FLIP), _FLIPPED),
        "filter's rows and columns exchanged": (_tiled(_TILE_TRANSPOSE), _TRANSPOSED),
        "image read again": (
            _tiled(("tile[threadIdx.y + j][threadIdx.x + i]", _IN_IMAGE)),
            "The tile is loaded, and then the sum reads the image all the same: take each pixel "
            "from the tile.",
        ),
        "halo read from the image": (
            _tiled(
                (
                    "tile[threadIdx.y + j][threadIdx.x + i]",
                    f"(threadIdx.y + j < K / 2 || threadIdx.y + j >= TILE + K / 2 || threadIdx.x + i < K / 2 || threadIdx.x + i >= TILE + K / 2 ? {_IN_IMAGE} : tile[threadIdx.y + j][threadIdx.x + i])",
                ),
            ),
            "The halo belongs into the tile too: read from the image, it is loaded by every output "
            "that needs it.",
        ),
        "no guard": (_tiled((_LEAVE, "")), _NO_GUARD),
    },
)


# --- the last rung: several outputs a thread ---

_COARSENED = """\
__constant__ float filter[15 * 15];

template <int K, int WIDTH, int STRIPS, int ROWS>
__global__ void conv2d(const float* in, float* out, int h, int w) {
    constexpr int HEIGHT = STRIPS * ROWS, TILE_H = HEIGHT + K - 1, TILE_W = WIDTH + K - 1;
    __shared__ float tile[TILE_H][TILE_W];
    int top = (int)blockIdx.y * HEIGHT - K / 2, left = (int)blockIdx.x * WIDTH - K / 2;
    for (int j = threadIdx.y; j < TILE_H; j += STRIPS) {
        int r = min(max(top + j, 0), h - 1);
        for (int i = threadIdx.x; i < TILE_W; i += WIDTH) {
            tile[j][i] = in[r * w + min(max(left + i, 0), w - 1)];
        }
    }
    __syncthreads();
    float sum[ROWS] = {};
    int first = threadIdx.y * ROWS;
#pragma unroll
    for (int i = 0; i < K; ++i) {
#pragma unroll
        for (int j = 0; j < ROWS + K - 1; ++j) {
            float v = tile[first + j][threadIdx.x + i];
#pragma unroll
            for (int o = 0; o < ROWS; ++o) {
                if (j - o >= 0 && j - o < K) sum[o] += v * filter[(j - o) * K + i];
            }
        }
    }
    int col = blockIdx.x * WIDTH + threadIdx.x, row = blockIdx.y * HEIGHT + first;
    if (col >= w) return;
    for (int o = 0; o < ROWS; ++o) {
        if (row + o < h) out[(row + o) * w + col] = sum[o];
    }
}
"""
_REGISTERS = _COARSENED[
    _COARSENED.index("#pragma unroll\n    for (int i = 0; i < K") : _COARSENED.index(
        "    int col ="
    )
]


def _coarsened(*changes):
    return altered_source(_COARSENED, *changes)


COARSENED = kernel_task(
    "a6-coarsened",
    "coarsened_source",
    {"correct": 2, "clean": 1, "global loads": 2, "loads": 3},
    _with_largest_filter(_variant("coarsened", _with_edges_repeated)),
    _COARSENED,
    {
        "barrier missing": (_coarsened((_BARRIER, "")), _NO_BARRIER),
        "return before the barrier": (
            _coarsened(
                ("    if (col >= w) return;\n", ""),
                (
                    "    for (int j = threadIdx.y",
                    "    if (blockIdx.x * WIDTH + threadIdx.x >= w) return;\n    for (int j = threadIdx.y",
                ),
            ),
            _EARLY,
        ),
        "tile as high as the block": (
            _coarsened(("TILE_H = HEIGHT + K - 1", "TILE_H = STRIPS + K - 1")),
            "A block has STRIPS rows of threads and STRIPS · ROWS rows of outputs: the tile serves "
            "the outputs.",
        ),
        "rows below the image written": (
            _coarsened(("if (row + o < h) ", "")),
            "Each of a thread's rows needs a test of its own: the last ones may lie below the "
            "image.",
        ),
        "columns beside the image written": (
            _coarsened(("    if (col >= w) return;\n", "")),
            "Threads beyond the last column must not write: theirs is the next row's place.",
        ),
        "first row only": (
            _coarsened(
                (
                    "for (int o = 0; o < ROWS; ++o) {\n        if (row",
                    "for (int o = 0; o < 1; ++o) {\n        if (row",
                )
            ),
            "A thread has ROWS outputs to write, not one.",
        ),
        "all rows in one sum": (
            _coarsened(
                ("float sum[ROWS] = {};", "float sum = 0.0f;"),
                ("sum[o] +=", "sum +="),
                ("= sum[o]", "= sum"),
            ),
            "Every output has a sum of its own: keep ROWS of them.",
        ),
        "strips overlap": (
            _coarsened(("int first = threadIdx.y * ROWS", "int first = threadIdx.y")),
            "A thread's rows begin where those of the thread above it end: ROWS further down.",
        ),
        "block's height forgotten": (
            _coarsened(
                ("(int)blockIdx.y * HEIGHT", "(int)blockIdx.y * STRIPS"),
                ("blockIdx.y * HEIGHT + first", "blockIdx.y * STRIPS + first"),
            ),
            "A block covers STRIPS · ROWS rows: that is how far apart two blocks begin.",
        ),
        "lower halo not loaded": (
            _coarsened(("j < TILE_H", "j < HEIGHT")),
            "The tile has K - 1 rows more than the block has outputs: load the last ones too.",
        ),
        "zeros around the image": (
            _coarsened(
                ("int r = min(max(top + j, 0), h - 1);", "int r = top + j;"),
                (
                    "= in[r * w + min(max(left + i, 0), w - 1)]",
                    "= r >= 0 && r < h && left + i >= 0 && left + i < w ? in[r * w + left + i] : 0.0f",
                ),
            ),
            _ZEROS,
        ),
        "filter upside down": (
            _coarsened(("filter[(j - o) * K + i]", "filter[(K - 1 - j + o) * K + K - 1 - i]")),
            _FLIPPED,
        ),
        "filter's rows and columns exchanged": (
            _coarsened(("filter[(j - o) * K + i]", "filter[i * K + j - o]")),
            _TRANSPOSED,
        ),
        "every word loaded again": (
            _coarsened(
                (
                    _REGISTERS,
                    """\
    for (int o = 0; o < ROWS; ++o) {
        for (int j = 0; j < K; ++j) {
            for (int i = 0; i < K; ++i) {
                sum[o] += tile[first + o + j][threadIdx.x + i] * filter[j * K + i];
            }
        }
    }
""",
                ),
            ),
            "Each word of the tile is read once for every output that needs it: read it once into "
            "a register, and add it to all of a thread's sums.",
        ),
        "no tile": (
            _coarsened(
                (
                    "tile[first + j][threadIdx.x + i]",
                    "in[min(max(top + first + j, 0), h - 1) * w + min(max(left + (int)threadIdx.x + i, 0), w - 1)]",
                ),
            ),
            "The sums read the image: neighbours load the same pixels again. Take them from the "
            "tile.",
        ),
    },
)

TASKS = (MIRROR, BYTES, CONSTANT, COUNTS, TILED, COARSENED)
