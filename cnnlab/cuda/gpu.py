"""Launching on a GPU, through NVIDIA's cuda.core, on torch's tensors and torch's stream.

A ``"checked"`` launch runs in a child process that shares the tensors' memory: an illegal access
poisons the child's CUDA context and leaves the notebook's alone, and a kernel that never ends
can be stopped. A ``"fast"`` launch is asynchronous, in this process.
"""

import functools

import torch
import torch.multiprocessing as multiprocessing

from cnnlab.simulator.report import Report

__all__ = ["GpuError", "launch"]


class GpuError(RuntimeError):
    """The GPU refused or broke off a launch."""


@functools.lru_cache(maxsize=64)
def _load(cubin: bytes, symbol: str, device: int):
    from cuda.core import Device, ObjectCode

    Device(device).set_current()
    code = ObjectCode.from_cubin(cubin)
    return code, code.get_kernel(symbol)


def _driver(result, *values):
    if int(result) != 0:
        from cuda.bindings import driver

        raise GpuError(driver.cuGetErrorString(result)[1].decode())
    return values


def enqueue(
    cubin: bytes, symbol: str, grid, block, shared_bytes: int, arguments, constants
) -> None:
    """Launch a compiled kernel on torch's current device and stream, without waiting for it.

    ``arguments`` are tensors, None, or NumPy scalars of the parameters' own types.
    """
    from cuda.bindings import driver
    from cuda.core import LaunchConfig, Stream
    from cuda.core import launch as cuda_launch

    device = torch.cuda.current_device()
    code, kernel = _load(cubin, symbol, device)
    handle = torch.cuda.current_stream().cuda_stream
    if shared_bytes > 48 << 10:
        opt_in = driver.CUfunction_attribute.CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES
        _driver(*driver.cuKernelSetAttribute(opt_in, shared_bytes, kernel.handle, device))
    for name, value in constants.items():
        place, size = _driver(*driver.cuLibraryGetGlobal(code.handle, name.encode()))
        if value.nbytes > size:
            raise GpuError(f"{name!r} holds {size} bytes, {value.nbytes} were given")
        _driver(*driver.cuMemcpyHtoDAsync(place, value.data_ptr(), value.nbytes, handle))
    plain = [a.data_ptr() if isinstance(a, torch.Tensor) else a for a in arguments]
    plain = [0 if a is None else a for a in plain]  # a null pointer
    config = LaunchConfig(grid=grid, block=block, shmem_size=shared_bytes)
    cuda_launch(Stream.from_handle(handle), config, kernel, *plain)


def _timed(*launch) -> float:
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    enqueue(*launch)
    end.record()
    end.synchronize()
    return start.elapsed_time(end)


def _serve(requests) -> None:
    """The child: launches until one breaks its context."""
    torch.cuda.init()
    requests.send("ready")
    while True:
        try:
            device, *launch = requests.recv()
        except EOFError:
            return
        try:
            with torch.cuda.device(device):
                answer = _timed(*launch)
        except Exception as error:  # all that CUDA raises goes to the parent as text
            requests.send(f"{type(error).__name__}: {error}".splitlines()[0])
            return
        del launch
        requests.send(answer)


class _Child:
    """The process that runs checked launches; a new one after each that breaks."""

    def __init__(self):
        self.process = None

    def __call__(self, launch, timeout: float) -> float:
        if self.process is None or not self.process.is_alive():
            context = multiprocessing.get_context("spawn")
            self.pipe, theirs = context.Pipe()
            self.process = context.Process(target=_serve, args=(theirs,), daemon=True)
            self.process.start()
            if not self.pipe.poll(60) or self.pipe.recv() != "ready":
                raise GpuError("the process for GPU launches did not start")
        self.pipe.send(launch)
        answer = (
            self.pipe.recv()
            if self.pipe.poll(timeout)
            else f"the kernel did not end within {timeout:g} s"
        )
        if isinstance(answer, str):
            self.process.kill()
            self.process.join()
            raise GpuError(
                f"{answer}. The checked run on the CPU names the line: pass .cpu() copies."
            )
        return answer


_child = _Child()


def launch(kernel, launch, contained: bool, timeout: float) -> Report:
    """Run a checked `Launch` of a `Kernel` on CUDA tensors; see `Kernel.launch`.

    Raises
    ------
    GpuError
        For what the launch or the kernel did wrong, with CUDA's own words.
    """
    device = launch.tensors[0].value.device
    with torch.cuda.device(device):
        made = kernel.nvidia_for("sm_{}{}".format(*torch.cuda.get_device_capability(device)))
        if structures := [p.name for p in launch.parameters if p.structure]:
            raise GpuError(
                f"{structures[0]} is a structure by value, which only the CPU side can pass"
            )
        arguments = [
            a if p.pointer else torch.empty(0, dtype=p.dtype).numpy().dtype.type(a)
            for ((_, p, a),) in launch.arguments
        ]
        shape = launch.grid, launch.block, launch.shared_bytes
        work = made.cubin, made.symbol, *shape, arguments, launch.constants
        milliseconds = None
        if contained:
            torch.cuda.current_stream().synchronize()
            milliseconds = _child((device.index or 0, *work), timeout)
        else:
            enqueue(*work)
    return Report(
        kernel=kernel.name,
        device=torch.cuda.get_device_name(device),
        grid=launch.grid,
        block=launch.block,
        milliseconds=milliseconds,
        nvidia=made,
    )
