"""A value that can be recognized and not be read: what the student's edition holds of a number."""

import hashlib
import math
from dataclasses import dataclass
from functools import lru_cache

__all__ = ["Sealed", "opened", "seal"]

ZERO = "zero"


@dataclass(frozen=True)
class Sealed:
    """A slow salted hash of a number or a word, rounded as its task says.

    Whether a given value is the sealed one takes about a twentieth of a second to find out.

    Parameters
    ----------
    kind : {"int", "float", "str", "bool", "NoneType"}
    salt : str
        Of this entry of this table, so that equal numbers have different hashes.
    digest : str
    rtol, atol : float
        Of a float: by how much a value may differ from it.
    """

    kind: str
    salt: str
    digest: str
    rtol: float
    atol: float

    @property
    def is_number(self) -> bool:
        return self.kind in ("int", "float")

    def matches(self, given) -> bool:
        """Whether ``given`` is the sealed value."""
        return any(_hash(self.salt, text) == self.digest for text in self._spellings(given))

    def _spellings(self, given) -> list[str]:
        if not self.is_number:
            return [_text(given)] if type(given).__name__ == self.kind else []
        if not isinstance(given, (int, float)) or not math.isfinite(given):
            return []
        if self.kind == "int":
            return [_text(int(given))] if given == int(given) else []
        step = _step(given, self.rtol, self.atol)
        sign, _, number = step.rpartition(":")
        return [step] if step == ZERO else [f"{sign}:{int(number) + i}" for i in (0, -1, 1)]


def seal(value, salt: str, rtol: float, atol: float):
    """``value`` as plain data with every number and word in it sealed; `opened` reads it."""
    if isinstance(value, dict):
        return {k: seal(v, f"{salt}/{k}", rtol, atol) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(seal(v, f"{salt}/{i}", rtol, atol) for i, v in enumerate(value))
    value = value.item() if hasattr(value, "item") else value
    kind = type(value).__name__
    if kind not in ("int", "float", "str", "bool", "NoneType"):
        raise TypeError(f"a table of numbers holds an object of type {kind}")
    text = _step(value, rtol, atol) if kind == "float" else _text(value)
    return {"sealed": [kind, salt, _hash(salt, text), rtol, atol]}


def opened(value):
    """What `seal` told, with a `Sealed` in each place."""
    if isinstance(value, dict):
        if value.keys() == {"sealed"}:
            return Sealed(*value["sealed"])
        return {k: opened(v) for k, v in value.items()}
    return type(value)(map(opened, value)) if isinstance(value, (list, tuple)) else value


def _text(value) -> str:
    return value.strip().casefold() if isinstance(value, str) else repr(value)


def _step(value: float, rtol: float, atol: float) -> str:
    """Values within about the tolerance of each other are on the same step, or on the next one."""
    if abs(value) <= atol:
        return ZERO
    return f"{'-' * (value < 0)}:{round(math.log(abs(value)) / math.log1p(rtol))}"


@lru_cache(maxsize=4096)
def _hash(salt: str, text: str) -> str:
    return hashlib.scrypt(text.encode(), salt=salt.encode(), n=2**14, r=8, p=1, dklen=16).hex()
