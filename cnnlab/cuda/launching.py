"""A launch before it runs: CUDA's limits, a kernel's parameters, and whether the values given fit.

The one place in Python that knows what grids, blocks and arguments may be.
"""

import math
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from operator import index
from typing import NamedTuple

import torch

from cnnlab.simulator.debuginfo import Variable

__all__ = ["Launch", "LaunchError", "Parameter", "checked", "constants"]

MAX_THREADS = 1024  # a block, by the CUDA programming guide's table of technical specifications
MAX_BLOCK = (1024, 1024, 64)
MAX_GRID = (2**31 - 1, 65535, 65535)
MAX_SHARED = 227 << 10  # bytes a block, after opting in (compute capability 9.0)
MAX_STRUCTURE = 1024  # bytes, here; CUDA's parameters may have 4 KB


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


def _plain(name: str) -> str:
    """One spelling for a type that g++, its debug information and NVRTC write differently."""
    words = re.sub(r"\b(const|volatile|__restrict__)\b", " ", name).replace("__nv_bool", "bool")
    words = words.replace("_Bool", "bool").split()
    if "double" in words or not {"short", "long", "char", "int", "unsigned"} & {*words}:
        return " ".join(words)
    size = next((w for w in ("long", "short", "char") if w in words), "int")
    signs = ("unsigned", "signed") if size == "char" else ("unsigned",)
    return " ".join([*(w for w in signs if w in words), size])


def _element(base: str) -> str:
    """The scalar that a vector type such as ``uchar4`` or ``__half2`` is made of."""
    vector = re.fullmatch(r"(u?)(char|short|int|long|longlong|float|double)[1-4]", base)
    if vector:
        return "unsigned " * bool(vector[1]) + vector[2].replace("longlong", "long")
    return {"__half2": "__half", "__nv_bfloat162": "__nv_bfloat16"}.get(base, base)


@dataclass(frozen=True)
class Parameter:
    """One parameter: the name in the source and the C++ type.

    A structure passed by value has its ``size`` and its ``fields``: their offsets, and each as a
    parameter of its own, such as ``A.width``.
    """

    name: str
    type: str
    size: int = 0
    fields: tuple[tuple[int, "Parameter"], ...] = ()

    @property
    def pointer(self) -> bool:
        return "*" in self.type

    @property
    def const(self) -> bool:
        return self.pointer and "const" in self.type.split("*")[0]

    @cached_property
    def base(self) -> str:
        return _plain(self.type.split("*")[0])

    @property
    def structure(self) -> bool:
        return not self.pointer and self.base not in _SCALARS

    @property
    def format(self) -> str:
        """How `struct` packs a number of this type; empty where it cannot."""
        return "" if self.pointer else _SCALARS.get(self.base, ("", None))[0]

    @property
    def dtype(self) -> torch.dtype | None:
        """The element type of the tensor it takes; None where any will do (``void*``)."""
        return _SCALARS.get(_element(self.base), ("", None))[1]

    def parts(self, value) -> tuple["Part", ...]:
        """An argument's numbers and pointers: one, or those in a structure."""
        if self.pointer:
            return (Part(0, self, value),)
        fields, values = self.fields if self.structure else ((0, self),), list(_flat(value))
        if len(values) != len(fields):
            wanted = f"{len(fields)} numbers" if len(fields) > 1 else "a number"
            raise LaunchError(f"{self.name} is {_a(self.type)} and takes {wanted}, got {value!r}")
        return tuple(Part(*field, v) for field, v in zip(fields, values, strict=True))

    def packed(self, parts: Sequence["Part"]) -> bytes:
        """An argument as it lies in memory, its pointers null: a Python float is no double here."""
        data = bytearray(max([self.size, *(part.at + 8 for part in parts)]))
        for at, field, value in parts:
            if not field.pointer:
                struct.pack_into(f"<{field.format}", data, at, value)
        return bytes(data)


class Part(NamedTuple):
    """A number or a pointer: its offset in its argument, its type, and the value or tensor."""

    at: int
    field: Parameter
    value: object

    @property
    def tensor(self) -> bool:
        return isinstance(self.value, torch.Tensor)


def _flat(value) -> Iterator:
    if isinstance(value, list | tuple):
        for part in value:
            yield from _flat(part)
    else:
        yield value


@dataclass(frozen=True)
class Launch:
    """A launch, checked: what the CPU and the GPU launchers share.

    ``arguments`` has the parts of each; ``outputs`` are names of pointers, or None: to be guessed.
    """

    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    parameters: tuple[Parameter, ...]
    arguments: tuple[tuple[Part, ...], ...]
    constants: Mapping[str, torch.Tensor]
    outputs: frozenset[str] | None

    @property
    def blocks(self) -> int:
        return math.prod(self.grid)

    @property
    def threads(self) -> int:
        """Threads of a block."""
        return math.prod(self.block)

    @cached_property
    def pointers(self) -> list[Part]:
        """What was given for pointers, also for those in structures: tensors and None."""
        return [part for parts in self.arguments for part in parts if part.field.pointer]

    @cached_property
    def tensors(self) -> list[Part]:
        return [part for part in self.pointers if part.tensor]


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
    try:
        arguments = tuple(_checked(p, a) for p, a in zip(parameters, args, strict=True))
    except LaunchError as error:
        raise LaunchError(f"{kernel}: {error}") from None
    launch = Launch(grid, block, shared_bytes, tuple(parameters), arguments, values, None)
    devices = sorted({str(part.value.device) for part in launch.tensors})
    if len(devices) > 1:
        raise LaunchError(f"the tensors are on several devices: {', '.join(devices)}")
    keys = [*enumerate(parameters), *((part.field.name, part.field) for part in launch.pointers)]
    writable = {key: p.name for key, p in keys if p.pointer and not p.const}
    for wanted in outputs or ():
        if wanted not in writable:
            raise LaunchError(
                f"outputs names {wanted!r}, which is no pointer that {kernel} may write to"
            )
    return replace(launch, outputs=outputs and frozenset(writable[wanted] for wanted in outputs))


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
            tensor = torch.as_tensor(value)
            plain = not hasattr(value, "dtype")  # Python's numbers take the array's type
            if plain and kind and (kind.is_floating_point or not tensor.is_floating_point()):
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


def _checked(p: Parameter, value) -> tuple[Part, ...]:
    """The parts of an argument, each of which fits its place."""
    is_a = f"{p.name} is {_a(p.type)}"
    if p.structure and not 0 < p.size <= MAX_STRUCTURE:
        why = f", of {p.size} bytes" if p.size else ", whose fields are no numbers and pointers"
        raise LaunchError(f"{is_a}{why}; Python passes structures of numbers and tensors")
    if isinstance(value, torch.Tensor) and not p.pointer:
        raise LaunchError(f"{is_a}, but a tensor was given; pass a number (x.item())")
    parts = p.parts(value)
    for _, field, part in parts:
        is_a = f"{field.name} is {_a(field.type)}"
        if field.pointer:
            _check_tensor(field, part)
        elif isinstance(part, float) and field.format not in ("f", "d", "e", ""):
            raise LaunchError(f"{is_a}, but {part!r} is no integer")
        else:
            try:
                struct.pack(f"<{field.format}", part)
            except (struct.error, OverflowError, TypeError):
                raise LaunchError(f"{is_a}, which cannot hold {part!r}") from None
    return tuple(p._replace(value=p.value.detach()) if p.tensor else p for p in parts)


def _check_tensor(p: Parameter, value) -> None:
    is_a = f"{p.name} is {_a(p.type)}"
    if value is None:
        return
    if not isinstance(value, torch.Tensor):
        raise LaunchError(f"{is_a} and takes a tensor, got {type(value).__name__}")
    if p.type.count("*") > 1:
        raise LaunchError(f"{is_a}; a pointer to pointers cannot be passed")
    if p.dtype is not None and p.dtype != value.dtype:
        given = f"got a tensor of {str(value.dtype)[6:]}"
        raise LaunchError(f"{is_a} and takes {str(p.dtype)[6:]}, {given}")
    if not value.is_contiguous():
        raise LaunchError(
            f"{p.name}: the tensor of shape {tuple(value.shape)} is not contiguous (strides "
            f"{value.stride()}), a pointer knows no strides; pass x.contiguous()"
        )
