"""Is an answer the expected one, and if not, what is the difference in one sentence?"""

import numbers

import numpy as np
import torch

from cnnlab.checks.sealed import Sealed
from cnnlab.checks.wire import Opaque

__all__ = ["describe", "difference", "show", "size_of"]


def _is_array(value) -> bool:
    return isinstance(value, (torch.Tensor, np.ndarray))


def _is_number(value) -> bool:
    return isinstance(value, numbers.Number) and not isinstance(value, bool)


def _shape(value) -> str:
    return "×".join(map(str, value.shape)) if value.ndim else "0-d"


def describe(value) -> str:
    """What a value is, in a few words: ``5×4 tensor``, ``3``, ``list of 2``."""
    if isinstance(value, torch.Tensor):
        return f"{_shape(value)} tensor"
    if isinstance(value, np.ndarray):
        return f"{_shape(value)} NumPy array"
    if isinstance(value, Opaque):
        return f"object of type {value.type_name}"
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
    if isinstance(value, torch.Tensor):
        return value.numel()
    if isinstance(value, np.ndarray):
        return value.size
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
    if isinstance(expected, Sealed):
        if expected.kind in ("int", "float") and not _is_number(given):
            return f"expected a number, got {describe(given)}"
        return None if expected.matches(given) else f"expected another value, got {describe(given)}"
    if isinstance(expected, bool):
        same = isinstance(given, bool) and given == expected
        return None if same else f"expected {expected}, got {describe(given)}"
    if _is_number(expected):
        if not _is_number(given):
            return f"expected a number, got {describe(given)}"
        if isinstance(expected, int) and given == expected:
            return None
        near = abs(given - expected) <= (atol + rtol * abs(expected))
        if isinstance(expected, int) or not near:
            return f"expected {expected:,}, got {given:,}"
        return None
    if isinstance(expected, (list, tuple)):
        if not isinstance(given, (list, tuple)):
            return f"expected {len(expected)} values, got {describe(given)}"
        if len(given) != len(expected):
            return f"expected {len(expected)} values, got {len(given)}"
        for index, (want, got) in enumerate(zip(expected, given, strict=True)):
            if wrong := difference(want, got, rtol, atol):
                return f"value {index}: {wrong}"
        return None
    if isinstance(expected, dict):
        if not isinstance(given, dict):
            return f"expected a dict, got {describe(given)}"
        for key, want in expected.items():
            if key not in given:
                return f"the key {key!r} is missing"
            if wrong := difference(want, given[key], rtol, atol):
                return f"{key!r}: {wrong}"
        return None
    if isinstance(expected, str) and isinstance(given, str):
        same = expected.strip().casefold() == given.strip().casefold()
        return None if same else f"expected {expected!r}, got {describe(given)}"
    same = type(expected) is type(given) and expected == given
    return None if same else f"expected {describe(expected)}, got {describe(given)}"


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
    return (
        f"{int((~same).sum())} of {same.numel()} values are wrong; "
        f"at {list(where)} expected {want[where].item():.6g}, got {got[where].item():.6g}"
    )


def _complex(value) -> bool:
    return torch.as_tensor(value).is_complex()
