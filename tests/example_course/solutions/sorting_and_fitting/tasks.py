"""Tasks of an assignment on sorting and on a least-squares line: one of each kind."""

from dataclasses import replace

import torch
from torch import nn

from cnnlab.assignments.authoring import altered, draw
from cnnlab.assignments.kernels import altered_source, kernel_task
from cnnlab.assignments.ladder import LADDER
from cnnlab.assignments.variant import Variant
from cnnlab.checks.task import Case, Misconception, Task

# --- function: it is called, and what it returns is compared ---


def _ranks(values):
    order = sorted(range(len(values)), key=values.__getitem__)
    return [order.index(i) for i in range(len(values))]


def _ranks_cases(rng):
    for size in (1, 4, 7):
        yield Case("values in any order", ([int(v) for v in rng.permutation(3 * size)[:size]],))
    for size in (5, 8):
        values = [int(v) for v in rng.integers(0, 3, size)]
        yield Case("equal values", (values,), note="equal ones keep their order")


RANKS = Task(
    id="s-ranks",
    kind="function",
    entry="ranks",
    points={"values in any order": 4, "equal values": 2},
    reference=_ranks,
    cases=_ranks_cases,
    forbidden=("argsort",),
    misconceptions=(
        Misconception(
            "counted from one",
            lambda values: [rank + 1 for rank in _ranks(values)],
            "The smallest value has rank 0.",
        ),
        Misconception(
            "order for ranks",
            lambda values: sorted(range(len(values)), key=values.__getitem__),
            "This says which value stands at each place; asked is the place of each value.",
        ),
        Misconception(
            "equal values share a rank",
            lambda values: [sum(v < value for v in values) for value in values],
            "Of two equal values the first one comes first.",
        ),
    ),
)

# --- value: a table of numbers, other ones in each variant ---

V = Variant(
    lambda v: [
        f"**{v.cards} cards**",
        f"list of {v.names:,} names",
        f"{v.cards} * {v.cards - 1} // 2",
        f"range({v.names})",
    ],
    cards=(52, 40, 36, 48, 32, 60),
    names=(1000, 500, 3000, 2000, 9000),
)


def _counted(pairs=lambda n: n * (n - 1) // 2, steps=int.bit_length):
    return {"comparisons": pairs(V.cards), "halvings": steps(V.names)}


COUNTED = Task(
    id="s-counted",
    kind="value",
    entry="counted",
    points={"comparisons": 3, "halvings": 3},
    reference=_counted,
    misconceptions=(
        Misconception(
            "each pair twice",
            lambda: _counted(pairs=lambda n: n * (n - 1)),
            "A pair is compared once, not from both sides.",
        ),
        Misconception(
            "each with itself",
            lambda: _counted(pairs=lambda n: n * (n + 1) // 2),
            "No card is compared with itself.",
        ),
        Misconception(
            "searched from the front",
            lambda: _counted(steps=lambda n: n),
            "Every look at the middle leaves half of the names.",
        ),
    ),
)

# --- module: the judge sets its weights by name ---


class _Line(nn.Module):
    def __init__(self):
        super().__init__()
        self.slope = nn.Parameter(torch.zeros(1))
        self.intercept = nn.Parameter(torch.zeros(1))

    def forward(self, x):
        return self.slope * x + self.intercept


def _line_cases(rng):
    yield Case("one point", inputs=(draw(rng, 1),))
    yield Case("many points", inputs=(draw(rng, 4, 3),))


LINE = Task(
    id="s-line",
    kind="module",
    entry="Line",
    points={"one point": 1, "many points": 3},
    reference=_Line,
    cases=_line_cases,
    misconceptions=(
        Misconception(
            "intercept forgotten",
            altered(_Line, lambda line, x: line.slope * x),
            "A line need not go through the origin: add the intercept.",
        ),
    ),
)

# --- predictions: classes of points that nobody has seen ---


def _above(points):
    return (points[:, 1] > 0.5 * points[:, 0] + 0.25).long()


ABOVE = Task(
    id="s-above",
    kind="predictions",
    entry="above",
    points={"better than guessing": 2, "good": 3},
    bands={"better than guessing": 0.7, "good": 0.93},
    reference=_above,
    cases=lambda rng: [Case("good", (draw(rng, 400, 2),))],
    misconceptions=(
        Misconception("below for above", lambda p: 1 - _above(p), "Class 1 is above the line."),
    ),
)

# --- source: a CUDA kernel, here on the cases of the ladder's first rung ---


def _halved(case):
    image = case.arguments[0].double()
    return replace(case, name="halve", expected=image / 2, scale=image.abs())


_HALVE = """\
__global__ void halve(const float* in, float* out, int h, int w) {
    int col = blockIdx.x * blockDim.x + threadIdx.x;
    int row = blockIdx.y * blockDim.y + threadIdx.y;
    if (row < h && col < w) out[row * w + col] = in[row * w + col] / 2;
}
"""
_INDEX = LADDER["index"].spec

HALVE = kernel_task(
    "s-halve",
    "halve_source",
    {"correct": 3, "clean": 1},
    replace(_INDEX, cases=lambda seed: [_halved(case) for case in _INDEX.cases(seed)]),
    _HALVE,
    {
        "doubled": (altered_source(_HALVE, ("/ 2", "* 2")), "Half of a number is not its double."),
        "no guard": (
            altered_source(_HALVE, ("if (row < h && col < w) ", "")),
            "The grid is rounded up to whole blocks: some threads have no element.",
        ),
    },
)

TASKS = [RANKS, COUNTED, LINE, ABOVE, HALVE]
