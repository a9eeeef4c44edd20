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
    """Turn ``value`` into named plain arrays.

    Raises
    ------
    WireError
        If it is larger than ``MAX_BYTES``, nested too deep, or has too many elements.
    """
    arrays: dict[str, np.ndarray] = {}
    budget = [MAX_BYTES, MAX_NODES]

    def spend(size: int) -> None:
        budget[0] -= size
        budget[1] -= 1
        if budget[0] < 0:
            raise WireError(f"the value is larger than {MAX_BYTES // 2**20} MiB")
        if budget[1] < 0:
            raise WireError(f"the value has more than {MAX_NODES:,} elements outside arrays")

    def array(kind: str, data: np.ndarray, **more):
        spend(data.nbytes)
        if len(arrays) == MAX_ARRAYS:
            raise WireError(f"the value has more than {MAX_ARRAYS:,} arrays")
        name = f"a{len(arrays)}"
        arrays[name] = np.ascontiguousarray(data).reshape(data.shape)
        return {"is": kind, "at": name, **more}

    def walk(item, depth: int):
        if depth > MAX_DEPTH:
            raise WireError(f"the value is nested more than {MAX_DEPTH} levels deep")
        if item is None or isinstance(item, bool):
            spend(1)
            return item
        if isinstance(item, torch.Tensor):
            if item.layout is not torch.strided or item.is_meta or item.is_quantized:
                return {"is": "opaque", "type": f"{item.layout} tensor on {item.device}"}
            spend(item.numel() * item.element_size())  # before anything is copied
            plain = item.detach().to("cpu").resolve_conj().resolve_neg()
            dtype = str(plain.dtype).removeprefix("torch.")
            try:
                return array("tensor", plain.numpy(), dtype=dtype)
            except TypeError:  # bfloat16 and the float8s have no NumPy twin
                return array("tensor", plain.float().numpy(), dtype=dtype)
        if isinstance(item, np.ndarray) and item.dtype.kind in "biufc":
            return array("array", item)
        if isinstance(item, np.generic) and item.dtype.kind in "biufc":
            spend(8)
            return walk(item.item(), depth)
        if isinstance(item, int):
            spend(8)
            if abs(item) >= 2**256:
                raise WireError("an integer has more than 77 digits")
            return {"is": "int", "v": str(int(item))}
        if isinstance(item, float):
            spend(8)
            return {"is": "float", "v": float(item).hex()}
        if isinstance(item, Fraction):
            return walk(item.numerator if item.denominator == 1 else float(item), depth)
        if isinstance(item, complex):
            return array("complex", np.array(item))
        if isinstance(item, str):
            spend(4 * len(item))
            return {"is": "str", "v": str(item)}
        if isinstance(item, (list, tuple)):
            kind = "list" if isinstance(item, list) else "tuple"
            spend(8)
            return {"is": kind, "v": [walk(child, depth + 1) for child in item]}
        if isinstance(item, dict):
            spend(8)
            pairs = [[walk(k, depth + 1), walk(v, depth + 1)] for k, v in item.items()]
            return {"is": "dict", "v": pairs}
        spend(8)
        return {"is": "opaque", "type": type(item).__name__[:80]}

    tree = walk(value, 0)
    arrays[_TREE] = np.frombuffer(json.dumps(tree).encode(), dtype=np.uint8)
    return arrays


def unpack(arrays: dict[str, np.ndarray]):
    """The value that :func:`pack` packed; tensors come back on the CPU.

    Raises
    ------
    WireError
        If the arrays do not hold what ``pack`` would have written.
    """

    def build(node, depth: int):
        if depth > MAX_DEPTH:
            raise WireError(f"the value is nested more than {MAX_DEPTH} levels deep")
        if node is None or isinstance(node, bool):
            return node
        kind = node["is"]
        if kind == "tensor":
            tensor = torch.from_numpy(np.array(arrays[node["at"]]))
            return tensor.to(getattr(torch, node["dtype"]))
        if kind == "array":
            return np.array(arrays[node["at"]])
        if kind == "complex":
            return complex(arrays[node["at"]])
        if kind == "int":
            return int(node["v"])
        if kind == "float":
            return float.fromhex(node["v"])
        if kind == "str":
            return str(node["v"])
        if kind in ("list", "tuple"):
            items = [build(child, depth + 1) for child in node["v"]]
            return items if kind == "list" else tuple(items)
        if kind == "dict":
            return {build(k, depth + 1): build(v, depth + 1) for k, v in node["v"]}
        if kind == "opaque":
            return Opaque(str(node["type"])[:80])
        raise WireError(f"unknown kind of value {kind!r}")

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
    """Write ``value`` as a ``.npz`` archive to a new file, or to an open descriptor.

    A compressed one holds equal arrays once.
    """
    arrays = pack(value)
    if compressed:
        arrays = _once(arrays)
    with open(file, "wb" if isinstance(file, int) else "xb") as stream:
        (np.savez_compressed if compressed else np.savez)(stream, **arrays)


def _once(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The arrays without those that another one is equal to."""
    first: dict[tuple, str] = {}
    names = {
        name: first.setdefault((array.dtype.str, array.shape, array.tobytes()), name)
        for name, array in arrays.items()
    }

    def renamed(node):
        if isinstance(node, dict):
            return {k: names[v] if k == "at" else renamed(v) for k, v in node.items()}
        return [renamed(child) for child in node] if isinstance(node, list) else node

    tree = json.dumps(renamed(json.loads(bytes(arrays[_TREE]))), separators=(",", ":"))
    kept = {name: arrays[name] for name in names.values() if name != _TREE}
    return kept | {_TREE: np.frombuffer(tree.encode(), dtype=np.uint8)}


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
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise WireError(f"{what} is not a regular file")
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
