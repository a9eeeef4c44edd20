"""Is an answer the expected one, and if not, what is the difference in one sentence?"""

import math
import numbers
from collections.abc import Iterator

import numpy as np
import torch

from cnnlab.answers.wire import Opaque

__all__ = ["describe", "difference", "record_difference", "show", "size_of"]


def _is_array(value) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


def _is_number(value) -> bool:
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def _shape(value) -> str:
    return "×".join(map(str, value.shape)) if value.ndim else "0-d"


def describe(value) -> str:
    """What a value is, in a few words: ``5×4 tensor``, ``3``, ``list of 2``."""
    if _is_array(value):
        kind = "tensor" if isinstance(value, torch.Tensor) else "NumPy array"
        return f"{kind} of length {len(value)}" if value.ndim == 1 else f"{_shape(value)} {kind}"
    if isinstance(value, Opaque):
        return f"an object of type {value.type_name}"
    if isinstance(value, float):
        return _plain(value)
    if isinstance(value, (list, tuple, dict)):
        return f"{type(value).__name__} of {len(value)}"
    text = repr(value)
    return text if len(text) <= 60 else f"{type(value).__name__} {text[:50]}…"


def show(value) -> str:
    """The value itself where it is small enough to read, else what it is."""
    if isinstance(value, torch.Tensor):
        plain = value.detach()
        array = (plain.double() if plain.is_floating_point() else plain).numpy()
    else:
        array = value
    if isinstance(array, np.ndarray) and array.size <= 36 and (array.shape or (1,))[-1] <= 8:
        return np.array2string(array, precision=4, suppress_small=True, separator=", ")
    return describe(value)


def size_of(value) -> int:
    """How many numbers a value holds: the measure by which the smallest case is found."""
    if _is_array(value):
        return math.prod(value.shape)
    if isinstance(value, dict):
        return sum(map(size_of, value.values()))
    if isinstance(value, (list, tuple)):
        return sum(map(size_of, value))
    return 1


def difference(expected, given, rtol: float, atol: float) -> str | None:
    """How ``given`` differs from ``expected``; None where it does not.

    A list is as good as a tuple, a 0-d tensor or NumPy number as good as a Python number,
    and any real dtype as good as another where the values agree.
    """
    if _is_array(expected):
        return _array_difference(expected, given, rtol, atol)
    if _is_array(given) and given.ndim == 0:
        given = given.item()
    if hasattr(expected, "matches"):  # it can be recognized and not be read
        if expected.is_number and not _is_number(given):
            return f"expected a number, got {describe(given)}"
        return None if expected.matches(given) else f"expected another value, got {describe(given)}"
    if _is_number(expected):
        if not _is_number(given):
            return f"expected a number, got {describe(given)}"
        if isinstance(expected, int) and given == expected:
            return None
        near = given == expected or abs(given - expected) <= atol + rtol * abs(expected) < math.inf
        if isinstance(expected, int) or not near:
            return f"expected {_plain(expected)}, got {_plain(given)}"
        return None
    if isinstance(expected, (list, tuple)):
        if not isinstance(given, (list, tuple)):
            return f"expected a list or tuple of {len(expected)} values, got {describe(given)}"
        if len(given) != len(expected):
            return f"expected {len(expected)} values, got {len(given)}"
        for index, (want, got) in enumerate(zip(expected, given, strict=True)):
            if wrong := difference(want, got, rtol, atol):
                return _inside(f"[{index}]", wrong)
        return None
    if isinstance(expected, dict):
        if not isinstance(given, dict):
            return f"expected a dict, got {describe(given)}"
        for key, want in expected.items():
            if key not in given:
                other = [k for k in given if k not in expected]
                return f"the key {key!r} is missing" + (
                    f", and {other[0]!r} is there" if other else ""
                )
            if wrong := difference(want, given[key], rtol, atol):
                return _inside(f"[{key!r}]", wrong)
        return None
    if isinstance(expected, str) and isinstance(given, str):
        same = expected.strip().casefold() == given.strip().casefold()
        return None if same else f"expected {expected!r}, got {describe(given)}"
    same = type(expected) is type(given) and expected == given
    return None if same else f"expected {describe(expected)}, got {describe(given)}"


def record_difference(expected: dict, given, rtol: float, atol: float) -> str | None:
    """How what was observed of an answer differs from what is expected, in one sentence.

    Both are records as :mod:`cnnlab.answers.observe` makes them. The output comes first; the rest
    is told only where the output is right.
    """
    if not isinstance(given, dict):
        return f"expected a record, got {describe(given)}"
    if wrong := difference(expected["output"], given.get("output"), rtol, atol):
        return f"{wrong}{_first_stage(expected, given)}"
    if given.get("changed its input") is True:
        return "it changed its input: work on a copy"
    for wrong in _faults(expected, given):
        return f"the output is right, but {wrong}"
    if "alone" in expected and difference(expected["alone"], given.get("alone"), rtol, atol):
        return "an image alone gives another output than the same image in a batch"
    return None


def _table(record: dict, key: str) -> dict:
    found = record.get(key)
    return found if isinstance(found, dict) else {}


def _first_stage(expected: dict, given: dict) -> str:
    """Which of the named parts is the first whose input or output is another one."""
    right, stages = [], _table(given, "stages")
    for name, (came, left) in expected.get("stages", {}).items():
        found = stages.get(name)
        if not isinstance(found, list) or len(found) != 2:
            continue  # another way of calling it may be as good
        before = _are_right(right)
        if not _alike(came, found[0]):
            return f"{before}; what reaches `{name}` differs"
        if not _alike(left, found[1]):
            return f"{before}; `{name}` gets the right input, and its output differs"
        right = [*right, f"`{name}`"][-3:]
    return f"{_are_right(right)}, what comes after differs" if right else ""


def _are_right(names: list[str]) -> str:
    return f"; {', '.join(names)} {'is' if len(names) == 1 else 'are'} right" if names else ""


def _alike(expected: dict, given) -> bool:
    same = isinstance(given, dict) and given.get("shape") == expected["shape"]
    return same and _near(expected["numbers"], given.get("numbers"), expected["numbers"][0])


def _near(expected: list, given, scale: float) -> bool:
    fits = isinstance(given, (list, tuple)) and len(given) == len(expected)
    if not fits or not all(map(_is_number, given)):
        return False
    pairs = zip(expected, given, strict=True)
    return all(abs(a - b) <= 1e-6 + 2e-3 * scale for a, b in pairs)


def _faults(expected: dict, given: dict) -> Iterator[str]:
    """What is wrong beside the output, in the order in which it is told."""
    for name, wrong in _unlike("initial", expected, given, 1e-6):
        yield f"a new module's `{name}` is not what the text says: {wrong}"
    constant = given.get("constant")
    for name in constant if isinstance(constant, list) else []:
        if name not in expected.get("constant", []):
            yield f"all weights of `{name}` begin alike, so that they can never differ"
    for name, _ in _unlike("trainable", expected, given):
        learns = expected["trainable"][name]
        what = "requires no gradient: it never learns" if learns else "is not frozen"
        yield f"`{name}` {what} (see `requires_grad`)"
    wanted = {n: g or [0.0] * 4 for n, g in expected.get("gradients", {}).items()}
    largest = max((gradient[0] for gradient in wanted.values()), default=0.0)
    for name, gradient in wanted.items():
        own = _table(given, "gradients").get(name)
        if own is None and gradient[0] > 1e-5 * largest:
            yield f"no gradient reaches {name}"
        if not _near(gradient, own or [0.0] * 4, max(gradient[0], 1e-3 * largest)):
            yield f"the gradient that reaches {name} is another one than it should be"
    for when in ("after one call", "after two calls"):
        for name, wrong in _unlike(when, expected, given, 1e-5):
            yield f"{when} `{name}` is not what it should be: {wrong}"


def _unlike(what: str, expected: dict, given: dict, atol: float = 0.0) -> Iterator[tuple]:
    """The names in a table of a record whose values differ, and how."""
    for name, value in expected.get(what, {}).items():
        if wrong := difference(value, _table(given, what).get(name), 1e-4, atol):
            yield name, wrong


def _array_difference(expected, given, rtol: float, atol: float) -> str | None:
    kind = "a tensor" if isinstance(expected, torch.Tensor) else "a NumPy array"
    if given is None:
        return f"expected {kind}, got None (is a `return` missing?)"
    if not isinstance(given, type(expected)):
        return f"expected {kind}, got {describe(given)}"
    if tuple(given.shape) != tuple(expected.shape):
        return f"expected shape {tuple(expected.shape)}, got {tuple(given.shape)}"
    want = torch.as_tensor(expected).to(torch.complex128 if _complex(expected) else torch.float64)
    if _complex(given) and not _complex(expected):
        return "expected real numbers, got complex ones"
    got = torch.as_tensor(given).to(want.dtype)
    if want.numel() == 0:
        return None
    scale = want[want.isfinite()].abs().max().item() if want.isfinite().any() else 0.0
    same = ((got - want).abs() <= atol + rtol * scale) | (got == want)
    same |= got.isnan() & want.isnan()
    if same.all():
        return None
    if not got.isfinite().all() and want.isfinite().all():
        bad = ~got.isfinite()
        where = bad.nonzero()[0].tolist()
        return f"{int(bad.sum())} of {got.numel()} values are not finite, the first at {where}"
    where = tuple((~same).nonzero()[0].tolist())
    told = f"expected {want[where].item():.6g}, got {got[where].item():.6g}"
    if same.numel() == 1:
        return told
    return f"{int((~same).sum())} of {same.numel()} values are wrong; at {list(where)} {told}"


def _inside(place: str, wrong: str) -> str:
    """What is wrong at a place in a list or dict; places within places become one path."""
    return (
        f"result{place}{wrong.removeprefix('result')}"
        if wrong.startswith("result[")
        else (f"result{place}: {wrong}")
    )


def _plain(number) -> str:
    """A number as a person writes it: whole ones in full, others to six digits."""
    return f"{number:,}" if isinstance(number, int) else f"{number:.6g}"


def _complex(value) -> bool:
    return torch.as_tensor(value).is_complex()
