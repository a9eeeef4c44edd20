"""Plain values on their way between a trusted process and a student's: arrays in, arrays out.

A value is packed into two runs of bytes: a JSON tree that says how it is built, and the elements
of its arrays, to which the tree points. They are sent as they are, one after the other; a file
that is to be kept is a ``.npz`` archive of them. No pickle is in either.
Only what has a fixed meaning on both sides passes: None, bool, int, float, str, NumPy arrays,
torch tensors, and lists, tuples and dicts of these. Any other object stays behind as an
:class:`Opaque` that carries its type's name alone, so nothing that a student defines (an
``__eq__`` that is always true, say) ever reaches the judge.
"""

import io
import json
import math
import os
import stat
import zipfile
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import numpy as np
import torch

__all__ = ["MAX_BYTES", "Opaque", "WireError", "load", "pack", "receive", "save", "send", "unpack"]

MAX_BYTES = 64 * 2**20
MAX_NODES, MAX_DEPTH = 100_000, 20
_PARTS = ("tree", "data")
_NUMBERS = "biufc"  # NumPy's kinds
_PLAIN = {type(None), bool, float, str}


class WireError(ValueError):
    """A value that cannot travel, or an archive that cannot be trusted."""


@dataclass(frozen=True)
class Opaque:
    """Stands for an object of a type that does not travel."""

    type_name: str


def pack(value) -> tuple[bytes, bytes]:
    """Turn ``value`` into its tree and its arrays' elements; of equal arrays one is stored.

    Raises
    ------
    WireError
        If it is larger than ``MAX_BYTES``, nested too deep, or has too many elements.
    """
    elements: list[bytes] = []
    places: dict[tuple[str, bytes], int] = {}
    end = 0
    budget = [MAX_BYTES, MAX_NODES]

    def spend(size: int) -> None:
        budget[0] -= size
        budget[1] -= 1
        if budget[0] < 0:
            raise WireError(f"the value is larger than {MAX_BYTES // 2**20} MiB")
        if budget[1] < 0:
            raise WireError(f"the value has more than {MAX_NODES:,} elements outside arrays")

    def stored(data: np.ndarray) -> list:
        nonlocal end
        kind, content = data.dtype.str, data.tobytes()
        place = places.setdefault((kind, content), end)
        if place == end:
            elements.append(content)
            end += len(content)
        return [kind, list(data.shape), place]

    def walk(item, depth: int):
        if depth > MAX_DEPTH:
            raise WireError(f"the value is nested more than {MAX_DEPTH} levels deep")
        if type(item) in _PLAIN:  # most are
            spend(4 * len(item) if isinstance(item, str) else 8)
            return item
        if isinstance(item, torch.Tensor):
            if item.layout is not torch.strided or item.is_meta or item.is_quantized:
                return {"opaque": f"{item.layout} tensor on {item.device}"}
            spend(item.numel() * item.element_size())  # before anything is copied
            plain = item.detach().to("cpu").resolve_conj().resolve_neg()
            dtype = str(plain.dtype).removeprefix("torch.")
            try:
                return {"tensor": stored(plain.numpy()), "dtype": dtype}
            except TypeError:  # bfloat16 and the float8s have no NumPy twin
                return {"tensor": stored(plain.float().numpy()), "dtype": dtype}
        if isinstance(item, np.generic) and item.dtype.kind in _NUMBERS:
            return walk(item.item(), depth + 1)
        if isinstance(item, np.ndarray) and item.dtype.kind in _NUMBERS:
            spend(item.nbytes)
            return {"array": stored(item)}
        spend(4 * len(item) if isinstance(item, str) else 8)
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
    return tree.encode(), b"".join(elements)


def unpack(tree: bytes, data: bytes):
    """The value that :func:`pack` packed; tensors come back on the CPU.

    Raises
    ------
    WireError
        If they are not what ``pack`` would have written.
    """
    left = 2 * MAX_BYTES  # one array may stand in many places

    def stored(kind: str, shape: list, place: int) -> np.ndarray:
        nonlocal left
        dtype = np.dtype(kind)
        if dtype.kind not in _NUMBERS or min(shape, default=0) < 0:
            raise WireError("it holds an unknown kind of value")
        found = np.frombuffer(data, dtype, math.prod(shape), place).reshape(shape)
        left -= found.nbytes
        if left < 0:
            raise WireError(f"the value is larger than {MAX_BYTES // 2**20} MiB")
        return found.copy()

    def build(node, depth: int):
        if depth > MAX_DEPTH:
            raise WireError(f"the value is nested more than {MAX_DEPTH} levels deep")
        if isinstance(node, list):
            return [build(child, depth + 1) for child in node]
        if isinstance(node, str):  # half a character could be written nowhere
            return node.encode("utf-8", "replace").decode()
        if not isinstance(node, dict):
            return node
        match node:
            case {"tensor": place, "dtype": dtype}:
                return torch.from_numpy(stored(*place)).to(getattr(torch, dtype))
            case {"array": place}:
                return stored(*place)
            case {"complex": [real, imaginary]}:
                return complex(real, imaginary)
            case {"tuple": items}:
                return tuple(build(child, depth + 1) for child in items)
            case {"dict": pairs}:
                return {build(k, depth + 1): build(v, depth + 1) for k, v in pairs}
            case {"opaque": name}:
                return Opaque(str(build(name, depth))[:80])
        raise WireError("it holds an unknown kind of value")

    try:
        if tree.count(b"[") + tree.count(b"{") + tree.count(b",") > 20 * MAX_NODES:
            raise WireError(f"the value has more than {MAX_NODES:,} elements outside arrays")
        return build(json.loads(tree), 0)
    except WireError:
        raise
    except Exception as error:
        raise WireError(f"it is not in the expected form ({error})") from None


def send(handle: int, value) -> None:
    """Write ``value`` to an open file, for `receive`."""
    tree, data = pack(value)
    with open(handle, "wb") as stream:
        stream.writelines((len(tree).to_bytes(8), tree, data))


def receive(handle: int):
    """Read back what `send` wrote into a file, from a writer that is not trusted.

    Raises
    ------
    WireError
        If it is too large, or not in the expected form.
    """
    with open(handle, "rb") as stream:
        stream.seek(0)
        content = stream.read(2 * MAX_BYTES + 1)
    if len(content) > 2 * MAX_BYTES:
        raise WireError(f"the answer is larger than {MAX_BYTES // 2**20} MiB")
    begin = 8 + int.from_bytes(content[:8])
    return unpack(content[8:begin], memoryview(content)[begin:])


def save(file: str | os.PathLike, value) -> None:
    """Write ``value`` as a compressed ``.npz`` archive to a new file."""
    parts = zip(_PARTS, pack(value), strict=True)
    arrays = {name: np.frombuffer(part, np.uint8) for name, part in parts}
    with open(file, "xb") as stream:
        np.savez_compressed(stream, **arrays)


def load(file: str | os.PathLike):
    """Read back what :func:`save` wrote, from a writer that is not trusted.

    Links are not followed, no more is read than may be there, what is read cannot change any
    more while its sizes are checked, and no pickle is read.

    Raises
    ------
    WireError
        If the file is missing, a link, too large, or not in the expected form.
    """
    try:
        handle = os.open(Path(file), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        raise WireError(f"the file is not there ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise WireError("the file is not a regular file")
    with os.fdopen(handle, "rb") as stream:
        content = io.BytesIO(stream.read(2 * MAX_BYTES + 1))
    if content.getbuffer().nbytes > 2 * MAX_BYTES:
        raise WireError(f"the file is larger than {MAX_BYTES // 2**20} MiB")
    try:
        # A directory without end is not read. Each member's entry begins like this, and so may
        # some elements of an array.
        if content.getvalue().count(b"PK\1\2") > 100:
            raise WireError("the file is not in the expected form")
        with zipfile.ZipFile(content) as archive:
            if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in _PARTS):
                raise WireError("the file is not in the expected form")
            if sum(member.file_size for member in archive.infolist()) > 2 * MAX_BYTES:
                raise WireError(f"the file is larger than {MAX_BYTES // 2**20} MiB")
        content.seek(0)
        with np.load(content, allow_pickle=False) as archive:
            tree, data = (archive[name].tobytes() for name in _PARTS)
    except WireError:
        raise
    except Exception as error:
        raise WireError(f"the file cannot be read ({error})") from None
    return unpack(tree, data)
