"""A compiled kernel and how Python launches it: ``kernel[grid, block](*tensors_and_scalars)``."""

import contextlib
import re
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from functools import cached_property, partial
from pathlib import Path
from threading import Thread

import torch

from cnnlab.cuda import compiler, cpu, launching, nvrtc
from cnnlab.cuda.launching import LaunchError, Parameter
from cnnlab.cuda.source import CompileError, Source, read, split
from cnnlab.simulator import debuginfo
from cnnlab.simulator.report import Report

__all__ = ["Kernel", "LaunchError", "compile"]


class Kernel:
    """A CUDA kernel, compiled from its source; made by `compile`.

    ``kernel[grid, block](*args)`` and ``kernel[grid, block, shared_bytes](*args)`` launch it with
    the defaults of `launch`. Grids and blocks are integers or ``(x, y, z)`` as in CUDA.
    """

    def __init__(self, source: str, name: str, *, isolation: str, use_nvrtc: bool):
        self.source, self._isolation = source, isolation
        self._text = read(source)
        self.name, self._names = _named(self._text, name)
        self._folder = tempfile.TemporaryDirectory(prefix="cnnlab-cuda-")
        self._built: dict[str, Future[compiler.Built]] = {}
        self._nvidia: dict[str, nvrtc.Nvidia] = {}
        self.nvidia = None
        if use_nvrtc:
            if not torch.cuda.is_available():  # both compilers at a time: a CPU will run it
                self._build("checked")
            self.nvidia = self.nvidia_for(_arch())

    def nvidia_for(self, arch: str) -> nvrtc.Nvidia:
        """The kernel as NVIDIA's compiler made it for one architecture, such as ``"sm_90"``."""
        if arch not in self._nvidia:
            try:
                made = nvrtc.compile_cuda(self._text, self.name, arch, self._isolation)
            except ValueError as error:
                raise CompileError(str(error)) from None
            self._nvidia[arch] = made
        return self._nvidia[arch]

    def _build(self, variant: str) -> Future[compiler.Built]:
        """Let the host's compiler begin, in a thread of its own."""
        made, folder = Future(), self._folder  # which lasts as long as the thread

        def build() -> None:
            try:
                where = Path(folder.name)
                built = compiler.build(self._text, self.name, variant, where, self._isolation)
                made.set_result(built)
            except BaseException as error:
                made.set_exception(error)

        if self._built.setdefault(variant, made) is made:
            Thread(target=build, daemon=True).start()
        return self._built[variant]

    def built(self, variant: str) -> compiler.Built:
        """One CPU build (``"fast"``, ``"checked"``, ``"zero"``), made when first wanted."""
        try:
            return self._build(variant).result()
        except CompileError as error:
            if self.nvidia is None:
                raise
            raise CompileError(
                f"CUDA accepts this; this lab's CPU simulator does not (yet):\n{error}"
            ) from None

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The kernel's parameters, as its compiler understands them."""
        if self.nvidia is not None:
            types = self.nvidia.types
        else:
            types = compiler.signature(self.built(next(iter(self._built), "checked")).path)
        names = [*self._names, *(f"argument {i}" for i in range(len(self._names), len(types)))]
        return tuple(map(self._parameter, names, types))

    def _parameter(self, name: str, type: str) -> Parameter:
        plain = Parameter(name, type)
        if not plain.structure:
            return plain
        built = self.built(next(iter(self._built), "checked")).path
        size, fields = debuginfo.structure(built, plain.base)
        parts = tuple((at, Parameter(name + path, kind)) for at, path, kind in fields)
        return Parameter(name, type, size * all(not p.structure for _, p in parts), parts)

    @property
    def dynamic(self) -> str:
        """The name of the dynamic shared array, if the source has one."""
        return self._text.dynamic[0] if len(self._text.dynamic) == 1 else ""

    @property
    def overlapping(self) -> tuple[str, ...]:
        """Names of dynamic shared arrays, where the one kernel has several: all are the same."""
        return self._text.dynamic[1:] and self._text.dynamic * (len(self._text.kernels) == 1)

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
        return partial(self.launch, grid, block, **dict(zip(["shared_bytes"], rest, strict=False)))

    def _constants(self, given: Mapping[str, object], variant: str) -> dict[str, torch.Tensor]:
        if not given:
            return {}
        self._build(variant)
        import elftools.elf.elffile  # noqa: F401  (which takes a while, as the compiler does)

        try:
            known = debuginfo.variables(self.built(variant).path)
        except compiler.CompilerMissing:  # a GPU without a host compiler
            with contextlib.suppress(TypeError, ValueError, RuntimeError):
                return {k: torch.as_tensor(v).detach().cpu().contiguous() for k, v in given.items()}
            raise
        return launching.constants(given, known)

    def launch(
        self,
        grid,
        block,
        *args,
        shared_bytes: int = 0,
        constants: Mapping[str, object] | None = None,
        outputs: Sequence[str | int] | None = None,
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
            must be written, none read before. By default those that the kernel only writes to, and
            floating tensors full of NaN; where it chooses their elements by atomics, a note says
            which it left out
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
        if self.nvidia is None:
            self._build(mode)  # it tells the parameters, too
        values = self._constants(constants or {}, mode)
        launch = launching.checked(
            self.name, self.parameters, grid, block, args, shared_bytes, values, outputs
        )
        if launch.tensors and launch.tensors[0].value.is_cuda:
            from cnnlab.cuda import gpu

            return gpu.launch(self, launch, mode == "checked", timeout)
        return cpu.launch(self, launch, mode == "checked", reverse, timeout, self._isolation)


def _named(text: Source, name: str) -> tuple[str, tuple[str, ...]]:
    """The full name of a source's one kernel, or of the one asked for; its parameters' names."""
    names = ", ".join(dict.fromkeys(k.name for k in text.kernels))
    if not text.kernels and not (text.macros and name):
        raise CompileError("the source has no __global__ function")
    if not name and "," in names:
        raise CompileError(f"the source has several kernels ({names}): name one")
    name = name or names
    plain = re.sub(r"<.*", "", name, flags=re.S).split("::")[-1].strip()
    declared = next((k for k in text.kernels if k.name == plain), None)
    if not re.fullmatch(r"[\w:<>, ()+*-]+", name) or not (declared or text.macros):
        raise CompileError(f"no kernel {name!r} in this source, which has {names}")
    if declared is None:  # a macro makes it
        return name, ()
    if declared.problem:
        raise CompileError(f"{plain} cannot be a kernel: {declared.problem}")
    if declared.template is None or "<" in name:
        return name, declared.parameters
    missing = split(declared.template)
    if not all("=" in p for p in missing):
        values = ["16"] * len(missing) if "int" in declared.template else ["float"]
        raise CompileError(
            f"{plain} is a template <{declared.template}>: name it with its arguments, "
            f"such as '{plain}<{', '.join(values)}>'"
        )
    return f"{name}<>", declared.parameters


def _arch() -> str:
    """The GPU at hand, else the one whose limits are checked here."""
    if torch.cuda.is_available():
        return "sm_{}{}".format(*torch.cuda.get_device_capability())
    return "sm_90"


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
