"""What helps with a wrong answer that no known misconception explains."""

import inspect
from collections.abc import Iterator

import torch

from cnnlab.checks.task import Case, Task

__all__ = ["advice", "general_hint"]

# By a piece of the sentence that says what is wrong.
_ADVICE = {
    "changed its input": "`x += ...`, `relu_` and what else ends in `_` change a tensor for all "
    "that hold it. Write `x = x + ...`, or begin with `x.clone()`.",
    "no gradient reaches": "`detach`, `.data`, `.item()`, NumPy and `no_grad` all cut a gradient "
    "off.",
    "the gradient that reaches": "The output is right and its derivative is not: is a part of the "
    "computation detached, or computed with another part's weights?",
    "begin alike": "Weights that begin alike get equal gradients and stay alike: keep PyTorch's "
    "random start.",
    "is not what the text says": "Give it this value in `__init__`; training moves it from there.",
    "requires no gradient": "An `nn.Parameter` learns; a buffer, a plain tensor, and a parameter "
    "with `requires_grad=False` do not.",
    "is not frozen": "`requires_grad_(False)` freezes a parameter; evaluation mode does not.",
    "one call `": "A batch norm's running statistics move with every call in training mode, as far "
    "as `momentum` says, and with none in evaluation mode.",
    "an image alone": "Something is computed over the whole batch, or a `squeeze` takes its axis "
    "away where it is 1.",
    "plain list": "`nn.ModuleList([...])` is a list whose modules count as parts of the network.",
    "has no parameter": "Parameters bear the names of the attributes that hold their layers: "
    "`self.conv1 = nn.Conv2d(...)` gives `conv1.weight`.",
    "that it should not have": "Only the layers of the text have weights; a layer without weights "
    "of its own (a ReLU, a pool) may be added.",
    "one and the same": "`[layer] * n` is one layer n times, and `b = a` is no copy: each place "
    "needs a new layer.",
    "it loops": "Let one operation of PyTorch work on the whole tensor: slices, broadcasting, "
    "`unfold`, `einsum`.",
    "runs PyTorch's convolution": "What is asked is to write the sums yourself, of what stands "
    "before this part: multiply, and add up.",
    "together in one tensor": "A convolution is linear in its channels: treat each part by itself "
    "and add the results.",
    "returned None": "A function gives back what stands after `return`; printing does not.",
}


def advice(sentence: str) -> str:
    """What helps with what a sentence says, if anything is known."""
    return next((told for piece, told in _ADVICE.items() if piece in sentence), "")


def general_hint(
    task: Task, cases: list[Case], wrong: dict[int, str], first: int, outputs: list[tuple]
) -> str:
    """A sentence that helps, or none.

    Parameters
    ----------
    wrong : mapping of int to str
        What is wrong with the answer to each case that is not right.
    first : int
        The case whose sentence the student reads.
    outputs : list of pairs
        What was expected of each case, and what was given.
    """
    if told := advice(wrong[first]):
        return told
    if task.kind == "value":  # everybody's question is the same: nothing narrows it down
        return ""
    return _where(task, cases, set(wrong)) or _related([outputs[index] for index in wrong])


def _where(task: Task, cases: list[Case], wrong: set[int]) -> str:
    """What sets the wrong cases apart from the right ones, where one property does it best."""
    told = [dict(_properties(task, case)) for case in cases]
    found: dict[int, dict[str, str]] = {}
    for name in set.intersection(*map(set, told)):
        bad = {told[index][name] for index in wrong}
        good = {properties[name] for index, properties in enumerate(told) if index not in wrong}
        if not good or bad & good:
            continue
        for here, values, there in (("right", good, "wrong"), ("wrong", bad, "right")):
            if len(values) == 1:
                (value,) = values
                words = f"it is {here} where {name} is {value}, and {there} elsewhere."
                found.setdefault(_doubt(name, value), {}).setdefault(name, words)
    doubt = min(found, default=0)
    best = list(found.get(doubt, {}).values())
    sure = doubt < 2 or (doubt < 4 and 1 < len(wrong) < len(cases) - 1)
    return f"Of these questions {best[0]}" if sure and len(best) == 1 else ""


def _doubt(name: str, value) -> int:
    """How easily a property sets cases apart by chance: few numbers are 1 by chance."""
    if value in ("even", "odd", "square", "oblong") or "==" in name:
        return 2
    if isinstance(value, str) or value in (None, 0, 1):
        return int(name.startswith("axis"))
    return 3 if value in (2, 3) else 4


def _properties(task: Task, case: Case) -> Iterator[tuple[str, object]]:
    """What can be said of a case in a word: its arguments, and the shapes of its tensors."""
    names = inspect.signature(task.reference).parameters
    arguments = {**dict(zip(names, case.args, strict=False)), **case.kwargs}
    for name, value in arguments.items():
        if isinstance(value, (bool, int, float, str)) or value is None:
            yield f"`{name}`", value
    for (one, a), (two, b) in _pairs(arguments):
        yield f"`{one}` == `{two}`", a == b
    tensors = {f"`{n}`": v for n, v in arguments.items() if isinstance(v, torch.Tensor)}
    tensors |= {f"input {i + 1}": v for i, v in enumerate(case.inputs)}
    for name, tensor in tensors.items():
        if tensor.ndim >= 2:
            height, width = tensor.shape[-2:]
            yield f"the shape of {name}", "oblong" if height != width else "square"
            yield f"the height of {name}", ("even", "odd")[height % 2]
            yield f"the width of {name}", ("even", "odd")[width % 2]
        for axis, size in enumerate(tensor.shape):
            yield f"axis {axis} of {name}", size
    yield "the mode", "training" if case.training else "evaluation"


def _pairs(arguments: dict) -> Iterator[tuple]:
    whole = [(n, v) for n, v in arguments.items() if type(v) is int]
    return ((a, b) for i, a in enumerate(whole) for b in whole[i + 1 :])


def _related(pairs: list[tuple]) -> str:
    """How what was given relates to what was expected, the same way in all wrong cases."""
    tensors = []
    for expected, given in pairs:
        numbers = [v for v in (expected, given) if isinstance(v, (int, float, torch.Tensor))]
        if len(numbers) < 2 or any(isinstance(v, bool) for v in numbers):
            return ""
        pair = [torch.as_tensor(v) for v in numbers]
        if any(tensor.is_complex() for tensor in pair):
            return ""
        tensors.append([tensor.double() for tensor in pair])
    if all(_near(e, g) for e, g in tensors):
        return ""
    for holds, told in _RELATIONS:
        if all(holds(e, g) for e, g in tensors):
            return told
    if any(e.shape != g.shape or e.numel() == 0 for e, g in tensors):
        return ""
    differences = torch.cat([(g - e).flatten() for e, g in tensors])
    ratios = torch.cat([(g / e)[e != 0].flatten() for e, g in tensors])
    if _constant(differences):
        return f"Your results are the right ones plus {differences[0].item():.4g}."
    if len(ratios) and _constant(ratios):
        return f"Your results are the right ones times {ratios[0].item():.4g}."
    return ""


def _constant(values: torch.Tensor) -> bool:
    return bool(values.isfinite().all()) and bool(
        ((values - values[0]).abs() <= 1e-4 * values[0].abs()).all()
    )


def _near(a: torch.Tensor, b: torch.Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _fits_in(small: torch.Tensor, large: torch.Tensor) -> bool:
    sides = zip(small.shape, large.shape, strict=False)
    return small.ndim == large.ndim and small.shape != large.shape and all(a <= b for a, b in sides)


_RELATIONS = (
    (lambda e, g: e.numel() > 1 and not g.any(), "Your results are all zero."),
    (lambda e, g: e.ndim > 1 and _near(e.mT, g), "Your results are the right ones transposed."),
    (
        lambda e, g: e.ndim > 1 and _near(e.flip(-1, -2), g),
        "Your results are the right ones turned by half a turn.",
    ),
    (lambda e, g: _near(e.abs(), g), "Your results are the right ones without their signs."),
    (lambda e, g: _near(e.clamp(min=0), g), "Your results are the right ones with a ReLU."),
    (lambda e, g: _near(e, g.clamp(min=0)), "A ReLU is missing at the end."),
    (
        lambda e, g: e.shape != g.shape and e.squeeze().shape == g.squeeze().shape,
        "An axis of length 1 is missing, or one too many.",
    ),
    (
        lambda e, g: e.shape != g.shape and sorted(e.shape) == sorted(g.shape),
        "The axes are the right ones in another order.",
    ),
    (
        lambda e, g: e.shape == g.shape and _near(e.flatten().sort()[0], g.flatten().sort()[0]),
        "These are the right numbers in another order.",
    ),
    (lambda e, g: e.ndim != g.ndim, "The result has another number of axes: look at the shapes."),
    (_fits_in, "The result is too large: what does not belong to it any more?"),
    (lambda e, g: _fits_in(g, e), "The result is too small: which places are left out?"),
)
