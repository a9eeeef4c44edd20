"""Another term, other numbers: the constants of *value* tasks, and the text that states them."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from types import SimpleNamespace

import numpy as np

__all__ = ["Variant", "chosen", "variant_of"]

_name: ContextVar[str] = ContextVar("variant", default="")


@contextmanager
def chosen(name: str):
    """While tasks are declared in here, their variants are those of this name."""
    token = _name.set(name)
    try:
        yield
    finally:
        _name.reset(token)


class Variant:
    """Constants of a task, of which each variant takes other ones.

    Parameters
    ----------
    stated : callable
        ``stated(v)`` gives the pieces of text, of the notebook and of the right answers, that hold
        the constants ``v``. With the default constants each of them stands in the notebook; in
        another variant it is exchanged for the piece with that one's constants.
    **constants : sequence
        The values that a constant may have, the default first. A variant never takes the default
        where there is another one.

    Examples
    --------
    >>> v = Variant(lambda v: [f"a photograph of {v.height} rows"], height=(200, 160, 180))
    >>> v.height
    200
    """

    def __init__(self, stated: Callable[[SimpleNamespace], list[str]], **constants: Sequence):
        seed = hashlib.sha256(f"{_name.get()}:{sorted(constants)}".encode()).digest()
        rng = np.random.default_rng(list(seed))
        self._stated = stated
        self._default = SimpleNamespace(**{k: values[0] for k, values in constants.items()})
        self._chosen = self._default
        if _name.get():
            others = {k: values[1:] or values for k, values in constants.items()}
            self._chosen = SimpleNamespace(
                **{k: values[rng.integers(len(values))] for k, values in others.items()}
            )

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self._chosen, name)

    def changes(self) -> Mapping[str, str]:
        """What each piece of text becomes."""
        old, new = (self._stated(constants) for constants in (self._default, self._chosen))
        return dict(zip(old, new, strict=True))


def variant_of(notebook: Mapping) -> str:
    """The variant of a released notebook; empty for the default one."""
    return str(notebook["metadata"].get("cnnlab", {}).get("variant", ""))
