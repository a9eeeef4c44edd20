"""Plain values on their way between a trusted process and a student's: arrays in, arrays out.

A value is packed into a ``.npz`` archive of plain arrays (no pickle) plus a JSON tree that
says how they fit together. Only what has a fixed meaning on both sides passes: None, bool,
int, float, str, NumPy arrays, torch tensors, and lists, tuples and dicts of these. Any other
object stays behind as an :class:`Opaque` that carries its type's name alone, so nothing that
a student defines (an ``__eq__`` that is always true, say) ever reaches the judge.
"""

import io
import json
import os
import stat
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

__all__ = ["MAX_BYTES", "Opaque", "WireError", "load", "pack", "save", "unpack"]

MAX_BYTES = 64 * 2**20
MAX_NODES, MAX_ARRAYS = 100_000, 20_000
MAX_DEPTH = 20
_TREE = "tree"


class WireError(ValueError):
    """A value that cannot travel, or an archive that cannot be trusted."""


@dataclass(frozen=True)
class Opaque:
    """Stands for an object of a type that does not travel."""

    type_name: str


def pack(value) -> dict[str, np.ndarray]:
    """Turn ``value`` into named plain arrays, of which equal ones are one.

    Raises
    ------
    WireError
        If it is larger than ``MAX_BYTES``, nested too deep, or has too many elements.
    """
    arrays: dict[str, np.ndarray] = {}
    names: dict[tuple, str] = {}
    budget = [MAX_BYTES, MAX_NODES]

    def spend(size: int) -> None:
        budget[0] -= size
        budget[1] -= 1
        if budget[0] < 0:
            raise WireError(f"the value is larger than {MAX_BYTES // 2**20} MiB")
        if budget[1] < 0:
            raise WireError(f"the value has more than {MAX_NODES:,} elements outside arrays")

    def named(data: np.ndarray) -> str:
        content = data.dtype.str, data.shape, data.tobytes()
        name = names.setdefault(content, f"a{len(names)}")
        if len(names) > MAX_ARRAYS:
            raise WireError(f"the value has more than {MAX_ARRAYS:,} arrays")
        arrays[name] = np.ascontiguousarray(data).reshape(data.shape)
        return name

    def walk(item, depth: int):
        if depth > MAX_DEPTH:
            raise WireError(f"the value is nested more than {MAX_DEPTH} levels deep")
        if isinstance(item, torch.Tensor):
            if item.layout is not torch.strided or item.is_meta or item.is_quantized:
                return {"opaque": f"{item.layout} tensor on {item.device}"}
            spend(item.numel() * item.element_size())  # before anything is copied
            plain = item.detach().to("cpu").resolve_conj().resolve_neg()
            dtype = str(plain.dtype).removeprefix("torch.")
            try:
                return {"tensor": named(plain.numpy()), "dtype": dtype}
            except TypeError:  # bfloat16 and the float8s have no NumPy twin
                return {"tensor": named(plain.float().numpy()), "dtype": dtype}
        if isinstance(item, np.generic) and item.dtype.kind in "biufc":
            return walk(item.item(), depth + 1)
        if isinstance(item, np.ndarray) and item.dtype.kind in "biufc":
            spend(item.nbytes)
            return {"array": named(item)}
        spend(4 * len(item) if isinstance(item, str) else 8)
        if item is None or isinstance(item, bool):
            return item
        if isinstance(item, int):
            if abs(item) >= 2**256:
                raise WireError("an integer has more than 77 digits")
            return int(item)
        if isinstance(item, (float, str)):
            return float(item) if isinstance(item, float) else str(item)
        if isinstance(item, Fraction):
            return walk(item.numerator if item.denominator == 1 else float(item), depth)
        if isinstance(item, complex):
            return {"complex": [item.real, item.imag]}
        if isinstance(item, (list, tuple)):
            items = [walk(child, depth + 1) for child in item]
            return items if isinstance(item, list) else {"tuple": items}
        if isinstance(item, dict):
            return {"dict": [[walk(part, depth + 1) for part in pair] for pair in item.items()]}
        return {"opaque": type(item).__name__[:80]}

    tree = json.dumps(walk(value, 0), separators=(",", ":"))
    return arrays | {_TREE: np.frombuffer(tree.encode(), dtype=np.uint8)}


def unpack(arrays: dict[str, np.ndarray]):
    """The value that :func:`pack` packed; tensors come back on the CPU.

    Raises
    ------
    WireError
        If the arrays do not hold what ``pack`` would have written.
    """
    left = 2 * MAX_BYTES  # one array may stand in many places

    def copy(name: str) -> np.ndarray:
        nonlocal left
        left -= arrays[name].nbytes
        if left < 0:
            raise WireError(f"the value is larger than {MAX_BYTES // 2**20} MiB")
        return np.array(arrays[name])

    def build(node, depth: int):
        if depth > MAX_DEPTH:
            raise WireError(f"the value is nested more than {MAX_DEPTH} levels deep")
        if isinstance(node, list):
            return [build(child, depth + 1) for child in node]
        match node:
            case {"tensor": name, "dtype": dtype}:
                return torch.from_numpy(copy(name)).to(getattr(torch, dtype))
            case {"array": name}:
                return copy(name)
            case {"complex": [real, imaginary]}:
                return complex(real, imaginary)
            case {"tuple": items}:
                return tuple(build(child, depth + 1) for child in items)
            case {"dict": pairs}:
                return {build(k, depth + 1): build(v, depth + 1) for k, v in pairs}
            case {"opaque": name}:
                return Opaque(str(build(name, depth))[:80])
            case dict():
                raise WireError("it holds an unknown kind of value")
            case str():  # half a character could be written nowhere
                return node.encode("utf-8", "replace").decode()
        return node

    try:
        tree = bytes(arrays[_TREE])
        if tree.count(b"[") + tree.count(b"{") + tree.count(b",") > 20 * MAX_NODES:
            raise WireError(f"the value has more than {MAX_NODES:,} elements outside arrays")
        return build(json.loads(tree), 0)
    except WireError:
        raise
    except Exception as error:
        raise WireError(f"the archive is not in the expected form ({error})") from None


def save(file: str | os.PathLike | int, value, *, compressed: bool = False) -> None:
    """Write ``value`` as a ``.npz`` archive to a new file, or to an open descriptor."""
    arrays = pack(value)
    with open(file, "wb" if isinstance(file, int) else "xb") as stream:
        (np.savez_compressed if compressed else np.savez)(stream, **arrays)


def load(file: str | os.PathLike | int, what: str = "the answer"):
    """Read back what :func:`save` wrote, from a writer that is not trusted.

    Links are not followed, no more is read than may be there, what is read cannot change any
    more while its sizes are checked, and no pickle is read.

    Raises
    ------
    WireError
        If the file is missing, a link, too large, or not in the expected form.
    """
    try:
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        handle = file if isinstance(file, int) else os.open(Path(file), flags)
    except OSError as error:
        raise WireError(f"{what} is not there ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise WireError(f"{what} is not a regular file")
    with os.fdopen(handle, "rb") as stream:
        stream.seek(0)
        content = io.BytesIO(stream.read(2 * MAX_BYTES + 1))
    if content.getbuffer().nbytes > 2 * MAX_BYTES:
        raise WireError(f"{what} is larger than {MAX_BYTES // 2**20} MiB")
    try:
        if content.getvalue().count(b"PK\1\2") > MAX_ARRAYS + 1:  # one a member
            raise WireError(f"{what} has more than {MAX_ARRAYS:,} arrays")
        with zipfile.ZipFile(content) as archive:
            if sum(member.file_size for member in archive.infolist()) > 2 * MAX_BYTES:
                raise WireError(f"{what} is larger than {MAX_BYTES // 2**20} MiB")
        content.seek(0)
        with np.load(content, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except WireError:
        raise
    except Exception as error:
        raise WireError(f"{what} cannot be read ({error})") from None
    return unpack(arrays)
