"""A launch before it runs: CUDA's limits, a kernel's parameters, and whether the values given fit.

The one place in Python that knows what grids, blocks and arguments may be.
"""

import math
import re
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from typing import NoReturn

import torch

from cnnlab.cuda.debuginfo import Variable

__all__ = ["Launch", "LaunchError", "Parameter", "checked", "constants"]

MAX_THREADS = 1024  # a block, by the CUDA programming guide's table of technical specifications
MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_SHARED = 227 << 10  # bytes a block, after opting in (compute capability 9.0)


class LaunchError(ValueError):
    """The launch is not one that a GPU would accept; nothing has run."""


_SCALARS = {  # C++ type: struct format, torch dtype
    "bool": ("?", torch.bool),
    "char": ("b", torch.int8),
    "signed char": ("b", torch.int8),
    "unsigned char": ("B", torch.uint8),
    "short": ("h", torch.int16),
    "unsigned short": ("H", torch.uint16),
    "int": ("i", torch.int32),
    "unsigned int": ("I", torch.uint32),
    "long": ("q", torch.int64),
    "unsigned long": ("Q", torch.uint64),
    "float": ("f", torch.float32),
    "double": ("d", torch.float64),
    "__half": ("e", torch.float16),
    "__nv_bfloat16": ("", torch.bfloat16),  # no number of Python's; tensors only
}
_VECTORS = {"float": "float", "double": "double", "__half": "__half"} | {
    sign[:1] + name: sign + name.replace("longlong", "long")
    for sign in ("", "unsigned ")
    for name in ("char", "short", "int", "long", "longlong")
}


def _pack(base: str) -> tuple[str, int] | None:
    """The struct format of one component, and how many there are: ``float4`` has 4 of ``"f"``."""
    if base in _SCALARS:
        return (_SCALARS[base][0], 1) if _SCALARS[base][0] else None
    if base == "dim3":
        return "I", 3
    vector = re.fullmatch(r"([a-z_]+)([1-4])", base)
    known = vector and _VECTORS.get(vector[1])
    return (_SCALARS[known][0], int(vector[2])) if known else None


def _plain(name: str) -> str:
    """One spelling for a type that g++ and NVRTC write differently."""
    words = (
        re.sub(r"\b(const|volatile|__restrict__)\b", " ", name).replace("__nv_bool", "bool").split()
    )
    size = [w for w in words if w in ("short", "long", "char")]
    if size or "unsigned" in words or "signed" in words:
        sign = (
            "unsigned "
            if "unsigned" in words
            else "signed "
            if size == ["char"] and "signed" in words
            else ""
        )
        return sign + ("long" if "long" in size else size[0] if size else "int")
    return " ".join(words)


@dataclass(frozen=True)
class Parameter:
    """One parameter: the name in the source, the C++ type, and whether it points to constants."""

    name: str
    type: str

    @property
    def pointer(self) -> bool:
        return self.type.rstrip().endswith("*") or "*" in self.type

    @property
    def const(self) -> bool:
        return self.pointer and "const" in self.type.split("*")[0]

    @cached_property
    def base(self) -> str:
        return _plain(self.type.split("*")[0])

    @property
    def dtype(self) -> torch.dtype | None:
        """The element type of the tensor it takes; None where any will do (``void*``)."""
        base = self.base.replace("bfloat162", "bfloat16")
        if vector := re.fullmatch(r"([a-z_]+)[1-4]", base):
            base = _VECTORS.get(vector[1], base)
        return _SCALARS[base][1] if base in _SCALARS else None


@dataclass(frozen=True)
class Launch:
    """A launch, checked: what the CPU and the GPU launchers share."""

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    parameters: tuple[Parameter, ...]
    arguments: tuple
    constants: Mapping[str, torch.Tensor]
    outputs: frozenset[int] | None  # None: to be guessed

    @property
    def blocks(self) -> int:
        return math.prod(self.grid)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return math.prod(self.block)

    @staticmethod
    def refuse(why: str) -> NoReturn:
        raise LaunchError(why)

    def scalar_bytes(self, i: int) -> bytes:
        """Argument ``i`` cast to its parameter's real type (a Python float is no double here)."""
        kind, count = _pack(self.parameters[i].base)
        value = self.arguments[i]
        return struct.pack(f"<{count}{kind}", *(value if count > 1 else (value,)))


def checked(
    kernel: str,
    parameters: Sequence[Parameter],
    grid,
    block,
    args,
    shared_bytes: int,
    values: Mapping[str, torch.Tensor],
    outputs: Sequence[str | int] | None,
) -> Launch:
    """A launch of a kernel with these parameters, where CUDA would take it.

    Raises
    ------
    LaunchError
        In a sentence with the values in it.
    """
    grid, block = _dim3(grid, "grid", MAX_GRID), _dim3(block, "block", MAX_BLOCK)
    if (threads := math.prod(block)) > MAX_THREADS:
        shape = "×".join(map(str, block))
        raise LaunchError(
            f"a block of {shape} has {threads} threads; CUDA takes at most {MAX_THREADS}"
        )
    if not 0 <= shared_bytes <= MAX_SHARED:
        raise LaunchError(
            f"{shared_bytes} bytes of dynamic shared memory; a block has at most {MAX_SHARED}"
        )
    if len(args) != len(parameters):
        names = ", ".join(f"{p.type} {p.name}" for p in parameters)
        raise LaunchError(
            f"{kernel} takes {len(parameters)} arguments ({names}), {len(args)} were given"
        )
    for p, a in zip(parameters, args, strict=True):
        _check_argument(kernel, p, a)
    devices = sorted({str(a.device) for a in args if isinstance(a, torch.Tensor)})
    if len(devices) > 1:
        raise LaunchError(f"the tensors are on several devices: {', '.join(devices)}")
    writable = {
        key: i for i, p in enumerate(parameters) if p.pointer and not p.const for key in (i, p.name)
    }
    for wanted in outputs or ():
        if wanted not in writable:
            raise LaunchError(
                f"outputs names {wanted!r}, which is no pointer that {kernel} may write to"
            )
    args = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in args)
    chosen = None if outputs is None else frozenset(writable[wanted] for wanted in outputs)
    return Launch(grid, block, shared_bytes, tuple(parameters), args, values, chosen)


def _dim3(value, what: str, most: tuple[int, int, int]) -> tuple[int, int, int]:
    try:
        sizes = tuple(map(index, value if isinstance(value, Sequence) else (value,)))
    except TypeError:
        sizes = ()
    if not 1 <= len(sizes) <= 3:
        raise LaunchError(f"{what} takes one to three integers (x, y, z), got {value!r}")
    sizes += (1,) * (3 - len(sizes))
    for axis, size, limit in zip("xyz", sizes, most, strict=True):
        if not 1 <= size <= limit:
            raise LaunchError(f"{what}.{axis} is {size}; CUDA takes 1 to {limit}")
    return sizes


def constants(given: Mapping[str, object], known: Sequence[Variable]) -> dict[str, torch.Tensor]:
    """Values for a kernel's static arrays, checked against their declarations.

    Raises
    ------
    LaunchError
        As for arguments.
    """
    declared = {v.name: v for v in known if v.space == "static"}
    tensors = {}
    for key, value in given.items():
        if (v := declared.get(key)) is None:
            raise LaunchError(f"the kernel has no __constant__ array {key!r}")
        kind = _SCALARS.get(_plain(v.type), (None, None))[1]
        text = v.type + "".join(f"[{n}]" for n in v.shape)
        try:
            if isinstance(value, torch.Tensor) or hasattr(value, "dtype"):
                tensor = torch.as_tensor(value)
            else:
                tensor = torch.tensor(value)
                whole = not tensor.is_floating_point()
                if kind is not None and (whole or kind.is_floating_point):
                    tensor = tensor.to(kind)
        except (TypeError, ValueError, RuntimeError):
            raise LaunchError(f"{key} is {_a(text)}, which cannot hold {value!r}") from None
        if kind is not None and tensor.dtype != kind:
            raise LaunchError(
                f"{key} is {_a(text)} and takes {str(kind)[6:]}, got {str(tensor.dtype)[6:]}"
            )
        size = v.itemsize * math.prod(v.shape)
        if tensor.nbytes > size:
            raise LaunchError(f"{key!r} holds {size} bytes, {tensor.nbytes} were given")
        tensors[key] = tensor.detach().cpu().contiguous()
    return tensors


def _a(kind: str) -> str:
    return f"{'an' if kind[:1] in 'aeio' else 'a'} {kind}"


def _check_argument(kernel: str, p: Parameter, value) -> None:
    where = f"{kernel}: {p.name}"
    if not p.pointer:
        if (packed := _pack(p.base)) is None:
            raise LaunchError(
                f"{where} is {_a(p.type)}; Python passes numbers, tensors and CUDA's vector types"
            )
        kind, count = packed
        if isinstance(value, torch.Tensor):
            raise LaunchError(
                f"{where} is {_a(p.type)}, but a tensor was given; pass a number (x.item())"
            )
        if count > 1 and not (isinstance(value, Sequence) and len(value) == count):
            raise LaunchError(f"{where} is {_a(p.type)} and takes {count} numbers, got {value!r}")
        for part in value if count > 1 else (value,):
            if isinstance(part, float) and kind not in "fde":
                raise LaunchError(f"{where} is {_a(p.type)}, but {part!r} is no integer")
            try:
                struct.pack("<" + kind, part)
            except (struct.error, OverflowError, TypeError):
                said = f"{where} is {_a(p.type)}, which cannot hold {part!r}"
                raise LaunchError(said) from None
        return
    if value is None:
        return
    if not isinstance(value, torch.Tensor):
        raise LaunchError(f"{where} is {_a(p.type)} and takes a tensor, got {type(value).__name__}")
    if p.type.count("*") > 1:
        raise LaunchError(f"{where} is {_a(p.type)}; a pointer to pointers cannot be passed")
    if p.dtype is not None and p.dtype != value.dtype:
        raise LaunchError(
            f"{where} is {_a(p.type)} and takes {str(p.dtype)[6:]}, "
            f"got a tensor of {str(value.dtype)[6:]}"
        )
    if not value.is_contiguous():
        raise LaunchError(
            f"{where}: the tensor of shape {tuple(value.shape)} is not contiguous (strides "
            f"{value.stride()}), a pointer knows no strides; pass x.contiguous()"
        )
