"""A compiled kernel and how Python launches it: ``kernel[grid, block](*tensors_and_scalars)``."""

import math
import re
import struct
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from operator import index
from pathlib import Path
from typing import NoReturn

import torch

from cnnlab.cuda import compiler, cpu, debuginfo, nvrtc
from cnnlab.cuda.report import Report
from cnnlab.cuda.source import CompileError, read, split

__all__ = ["Kernel", "LaunchError", "compile"]

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
_VECTORS = {
    "char": "char",
    "uchar": "unsigned char",
    "short": "short",
    "ushort": "unsigned short",
    "int": "int",
    "uint": "unsigned int",
    "longlong": "long",
    "ulonglong": "unsigned long",
    "float": "float",
    "double": "double",
    "__half": "__half",
    "ulong": "unsigned long",
    "long": "long",
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
    outputs: frozenset[int]

    @staticmethod
    def refuse(why: str) -> NoReturn:
        raise LaunchError(why)

    def scalar_bytes(self, i: int) -> bytes:
        """Argument ``i`` cast to its parameter's real type (a Python float is no double here)."""
        kind, count = _pack(self.parameters[i].base)
        value = self.arguments[i]
        return struct.pack(f"<{count}{kind}", *(value if count > 1 else (value,)))


def _dim3(value, what: str) -> tuple[int, int, int]:
    try:
        sizes = tuple(map(index, value if isinstance(value, Sequence) else (value,)))
    except TypeError:
        sizes = ()
    if not 1 <= len(sizes) <= 3:
        raise LaunchError(f"{what} takes one to three integers (x, y, z), got {value!r}")
    return sizes + (1,) * (3 - len(sizes))


class Kernel:
    """A CUDA kernel, compiled from its source; made by `compile`.

    ``kernel[grid, block](*args)`` and ``kernel[grid, block, shared_bytes](*args)`` launch it with
    the defaults of `launch`. Grids and blocks are integers or ``(x, y, z)`` as in CUDA.
    """

    def __init__(self, source: str, name: str, *, isolation: str, use_nvrtc: bool):
        self.source, self._isolation = source, isolation
        self._text = read(source)
        kernels, macros = self._text.kernels, self._text.macros
        names = ", ".join(dict.fromkeys(k.name for k in kernels))
        if not kernels and not (macros and name):
            raise CompileError("the source has no __global__ function")
        if not name and len({k.name for k in kernels}) > 1:
            raise CompileError(f"the source has several kernels ({names}): name one")
        self.name = name or kernels[0].name
        plain = re.sub(r"<.*", "", self.name, flags=re.S).split("::")[-1].strip()
        declared = next((k for k in kernels if k.name == plain), None)
        if not re.fullmatch(r"[\w:<>, ()+*-]+", self.name) or not (declared or macros):
            raise CompileError(f"no kernel {self.name!r} in this source, which has {names}")
        if declared and declared.problem:
            raise CompileError(f"{plain} cannot be a kernel: {declared.problem}")
        if declared and declared.template is not None and "<" not in self.name:
            if not all("=" in p for p in split(declared.template)):
                count = len(split(declared.template))
                values = ", ".join(["16"] * count if "int" in declared.template else ["float"])
                raise CompileError(
                    f"{plain} is a template <{declared.template}>: name it with its arguments, "
                    f"such as {plain + '<' + values + '>'!r}"
                )
            self.name += "<>"
        self._names = declared.parameters if declared else ()
        self._folder = tempfile.TemporaryDirectory(prefix="cnnlab-cuda-")
        self._built: dict[str, compiler.Built] = {}
        self._nvidia: dict[str, nvrtc.Nvidia] = {}
        self.nvidia = self.nvidia_for(_arch()) if use_nvrtc else None

    def nvidia_for(self, arch: str) -> nvrtc.Nvidia:
        """The kernel as NVIDIA's compiler made it for one architecture, such as ``"sm_90"``."""
        if arch not in self._nvidia:
            try:
                made = nvrtc.compile_cuda(self._text, self.name, arch, self._isolation)
            except ValueError as error:
                raise CompileError(str(error)) from None
            self._nvidia[arch] = made
        return self._nvidia[arch]

    def built(self, variant: str) -> compiler.Built:
        """One CPU build (``"fast"``, ``"checked"``, ``"zero"``), made when first wanted."""
        if variant not in self._built:
            folder = Path(self._folder.name)
            try:
                made = compiler.build(self._text, self.name, variant, folder, self._isolation)
            except CompileError as error:
                if self.nvidia is None:
                    raise
                raise CompileError(
                    f"CUDA accepts this; this lab's CPU simulator does not (yet):\n{error}"
                ) from None
            self._built[variant] = made
        return self._built[variant]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The kernel's parameters, as its compiler understands them."""
        if self.nvidia is not None:
            types = self.nvidia.types
        else:
            types = compiler.signature(self.built(next(iter(self._built), "checked")).path)
        names = [*self._names, *(f"argument {i}" for i in range(len(self._names), len(types)))]
        return tuple(Parameter(n, t) for n, t in zip(names, types, strict=False))

    @property
    def dynamic(self) -> str:
        """The name of the dynamic shared array, if the source has one."""
        return self._text.dynamic

    def __call__(self, *args, **options):
        raise LaunchError(f"say where {self.name} runs: kernel[grid, block](...)")

    def __repr__(self) -> str:
        text = ", ".join(f"{p.type} {p.name}" for p in self.parameters)
        return f"<CUDA kernel {self.name}({text})>"

    def __getitem__(self, shape):
        if not isinstance(shape, tuple) or len(shape) not in (2, 3):
            raise LaunchError(
                "write kernel[grid, block](...) or kernel[grid, block, shared_bytes](...)"
            )
        grid, block, *rest = shape

        def launch(*args, **options) -> Report:
            return self.launch(
                grid, block, *args, **dict(zip(["shared_bytes"], rest, strict=False)) | options
            )

        return launch

    def _constants(self, given: Mapping[str, object], variant: str) -> dict[str, torch.Tensor]:
        """Values for the kernel's static arrays, checked against their declarations."""
        try:
            known = debuginfo.variables(self.built(variant).path) if given else ()
        except compiler.CompilerMissing:  # a GPU without a host compiler
            return {k: torch.as_tensor(v).detach().cpu().contiguous() for k, v in given.items()}
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

    def _check(self, grid, block, args, shared_bytes, constants, outputs, variant) -> Launch:
        grid, block = _dim3(grid, "grid"), _dim3(block, "block")
        for sizes, most, what in ((grid, MAX_GRID, "grid"), (block, MAX_BLOCK, "block")):
            for axis, size, limit in zip("xyz", sizes, most, strict=True):
                if not 1 <= size <= limit:
                    raise LaunchError(f"{what}.{axis} is {size}; CUDA takes 1 to {limit}")
        threads = block[0] * block[1] * block[2]
        if threads > MAX_THREADS:
            shape = "×".join(map(str, block))
            raise LaunchError(
                f"a block of {shape} has {threads} threads; CUDA takes at most {MAX_THREADS}"
            )
        if not 0 <= shared_bytes <= MAX_SHARED:
            raise LaunchError(
                f"{shared_bytes} bytes of dynamic shared memory; a block has at most {MAX_SHARED}"
            )
        if len(args) != len(self.parameters):
            names = ", ".join(f"{p.type} {p.name}" for p in self.parameters)
            raise LaunchError(
                f"{self.name} takes {len(self.parameters)} arguments ({names}), "
                f"{len(args)} were given"
            )
        for p, a in zip(self.parameters, args, strict=True):
            _check_argument(self.name, p, a)
        devices = {a.device for a in args if isinstance(a, torch.Tensor)}
        if len(devices) > 1:
            raise LaunchError(
                f"the tensors are on several devices: {', '.join(sorted(map(str, devices)))}"
            )
        chosen = set()
        for wanted in outputs:
            named = [i for i, p in enumerate(self.parameters) if wanted in (i, p.name)]
            if (
                not named
                or not self.parameters[named[0]].pointer
                or self.parameters[named[0]].const
            ):
                raise LaunchError(
                    f"outputs names {wanted!r}, which is no pointer that {self.name} may write to"
                )
            chosen.add(named[0])
        tensors = self._constants(dict(constants or {}), variant)
        args = tuple(a.detach() if isinstance(a, torch.Tensor) else a for a in args)
        return Launch(grid, block, shared_bytes, self.parameters, args, tensors, frozenset(chosen))

    def launch(
        self,
        grid,
        block,
        *args,
        shared_bytes: int = 0,
        constants: Mapping[str, object] | None = None,
        outputs: Sequence[str | int] = (),
        mode: str = "checked",
        reverse: bool = False,
        timeout: float = 10.0,
    ) -> Report:
        """Run the kernel where its tensors live; output tensors are changed in place.

        Parameters
        ----------
        grid, block : blocks a grid and threads a block, an integer or ``(x, y, z)``
        args : contiguous tensors for pointers (None for a null pointer), numbers for scalars
        shared_bytes : dynamic shared memory a block, for ``extern __shared__``
        constants : values for ``__constant__`` or ``__device__`` arrays, by name: a tensor of the
            array's type, or numbers. A ``__device__`` array starts anew at each launch; on the CPU
            its tensor holds what the kernel left in it
        outputs : names or positions of the tensors whose old contents mean nothing: every element
            must be written, none read before. A floating tensor full of NaN counts as one; a tensor
            that the kernel only writes to must be written whole in any case
        mode : on CPU tensors, ``"checked"`` watches every access and ``"fast"`` only runs; on a
            GPU, ``"checked"`` runs in a child process and waits, ``"fast"`` here without waiting
        reverse : run blocks and threads in the opposite order, a second schedule for the checks
        timeout : seconds

        Returns
        -------
        Report
            Findings, counters and times. On a GPU and in fast mode only the time.

        Raises
        ------
        LaunchError
            For a launch that CUDA would refuse: argument count, dtype, contiguity, sizes.
        """
        if mode not in ("checked", "fast"):
            raise LaunchError(f"mode must be 'checked' or 'fast', not {mode!r}")
        outputs = (outputs,) if isinstance(outputs, str | int) else outputs
        launch = self._check(grid, block, args, shared_bytes, constants, outputs, mode)
        tensors = [a for a in launch.arguments if isinstance(a, torch.Tensor)]
        if tensors and tensors[0].is_cuda:
            from cnnlab.cuda import gpu

            return gpu.launch(self, launch, mode == "checked", timeout)
        return cpu.launch(self, launch, mode == "checked", reverse, timeout, self._isolation)


def _arch() -> str:
    """The GPU at hand, else the one whose limits are checked here."""
    if torch.cuda.is_available():
        return "sm_{}{}".format(*torch.cuda.get_device_capability())
    return "sm_90"


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


def compile(
    source: str, name: str = "", *, isolation: str = "preferred", use_nvrtc: bool | None = None
) -> Kernel:
    """Compile CUDA C++ for a GPU, where there is one, and for this machine's CPU.

    Parameters
    ----------
    source : the text of a ``.cu`` file, or the path of one
    name : the kernel to launch, where the source has several; ``"conv<16>"`` for a template
    isolation : ``"required"`` refuses to run where the host forbids namespaces (for others'
        code); ``"preferred"`` warns
    use_nvrtc : whether NVIDIA's compiler reads the source first; by default where it is installed

    Raises
    ------
    CompileError
        With the line, a caret, and the message of NVIDIA's compiler (or of g++).
    CompilerMissing
        Where a kernel is to run on the CPU and there is no g++.
    """
    if not isinstance(source, str | Path) or not isinstance(name, str):
        wrong = name if isinstance(source, str | Path) else source
        what = "the kernel's name" if isinstance(source, str | Path) else "the source"
        raise CompileError(f"{what} is a text, not {wrong!r:.40}")
    if isinstance(source, Path) or (source.endswith(".cu") and "\n" not in source):
        source = Path(source).read_text()
    if use_nvrtc is None:
        use_nvrtc = nvrtc.installed()
    return Kernel(source, name, isolation=isolation, use_nvrtc=use_nvrtc)
