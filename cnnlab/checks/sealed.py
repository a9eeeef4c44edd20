"""A value that can be recognized and not be read: what the student's edition holds of a number."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Sealed", "opened", "seal", "told"]

ZERO = "zero"


@dataclass(frozen=True)
class Sealed:
    """A slow salted hash of a number or a word, rounded as its task says.

    Whether a given value is the sealed one takes about a twentieth of a second to find out.

    Parameters
    ----------
    kind : {"int", "float", "str", "bool", "none"}
    salt : str
        Of this entry of this table, so that equal numbers have different hashes.
    digest : str
    rtol, atol : float
        Of a float: by how much a value may differ from it.
    """

    kind: str
    salt: str
    digest: str
    rtol: float = 0.0
    atol: float = 0.0

    def matches(self, given) -> bool:
        """Whether ``given`` is the sealed value."""
        return any(_hash(self.salt, text) == self.digest for text in self._spellings(given))

    def _spellings(self, given) -> list[str]:
        if self.kind == "str":
            return [_word(given)] if isinstance(given, str) else []
        if self.kind in ("bool", "none"):
            return [repr(given)] if isinstance(given, bool) or given is None else []
        if not isinstance(given, (int, float)) or not math.isfinite(given):
            return []
        if self.kind == "int":
            return [str(int(given))] if given == int(given) else []
        step = _step(given, self.rtol, self.atol)
        sign, _, number = step.rpartition(":")
        return [step] if step == ZERO else [f"{sign}:{int(number) + i}" for i in (0, -1, 1)]


def seal(value, salt: str, rtol: float, atol: float):
    """``value`` with every number and word in it sealed; dicts and sequences keep their form."""
    if isinstance(value, dict):
        return {k: seal(v, f"{salt}/{k}", rtol, atol) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(seal(v, f"{salt}/{i}", rtol, atol) for i, v in enumerate(value))
    value = value.item() if hasattr(value, "item") else value
    if isinstance(value, bool) or value is None:
        return Sealed("none" if value is None else "bool", salt, _hash(salt, repr(value)))
    if isinstance(value, int):
        return Sealed("int", salt, _hash(salt, str(value)))
    if isinstance(value, float):
        return Sealed("float", salt, _hash(salt, _step(value, rtol, atol)), rtol, atol)
    if isinstance(value, str):
        return Sealed("str", salt, _hash(salt, _word(value)))
    raise TypeError(f"a table of numbers holds an object of type {type(value).__name__}")


def _word(text: str) -> str:
    return text.strip().casefold()


def _step(value: float, rtol: float, atol: float) -> str:
    """Values within about the tolerance of each other are on the same step, or on the next one."""
    if abs(value) <= atol:
        return ZERO
    return f"{'-' * (value < 0)}:{round(math.log(abs(value)) / math.log1p(rtol))}"


@lru_cache(maxsize=4096)
def _hash(salt: str, text: str) -> str:
    return hashlib.scrypt(text.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=16).hex()


def told(value):
    """``value`` as plain data, in which what is sealed is a dict."""
    if isinstance(value, Sealed):
        return {"sealed": [value.kind, value.salt, value.digest, value.rtol, value.atol]}
    if isinstance(value, dict):
        return {k: told(v) for k, v in value.items()}
    return type(value)(map(told, value)) if isinstance(value, (list, tuple)) else value


def opened(value):
    """What `told` was given."""
    if isinstance(value, dict):
        if value.keys() == {"sealed"}:
            return Sealed(*value["sealed"])
        return {k: opened(v) for k, v in value.items()}
    return type(value)(map(opened, value)) if isinstance(value, (list, tuple)) else value
