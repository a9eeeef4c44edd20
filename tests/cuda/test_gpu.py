# ruff: noqa: E501 (kernels and sentences)
"""The GPU launcher: what needs a device, and what can be known of it without one."""

from pathlib import Path

import numpy as np
import pytest
import torch
from battery import make

from cnnlab import cuda
from cnnlab.cuda import cpu, gpu, nvrtc

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
CASES = make()


@pytest.mark.skipif(not nvrtc.installed(), reason="NVRTC is not installed")
def test_what_the_launcher_would_load():
    made = cuda.compile(CASES["tiled"].source, "conv2d<5, 16>").nvidia_for("sm_80")
    assert (
        made.arch == "sm_80"
        and made.cubin[:4] == b"\x7fELF"
        and made.symbol.startswith("_Z6conv2d")
    )
    assert made.symbol.encode() in made.cubin and b"filter" in made.cubin
    assert made.shared_bytes == 20 * 20 * 4


@pytest.mark.skipif(not nvrtc.installed(), reason="NVRTC is not installed")
def test_a_launch_as_cuda_core_gets_it(monkeypatch):
    """Everything but the driver: pointers, scalars of the parameters' types, constants, the symbol."""
    seen = []
    monkeypatch.setattr(gpu, "enqueue", lambda *work: seen.append(work))
    monkeypatch.setattr(
        torch.cuda, "device", lambda d: torch.autograd.profiler.record_function("device")
    )
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda d: (8, 0))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda d: "a card")
    kernel = cuda.compile(
        "__constant__ float w[2]; __global__ void k(float* out, float a, int n, double d) { out[0] = a * w[0]; }"
    )
    monkeypatch.setattr(cpu, "launch", lambda k, made, *_: gpu.launch(k, made, False, 1.0))
    options = {"shared_bytes": 100, "constants": {"w": [1.0, 2.0]}, "mode": "fast"}
    report = kernel.launch(2, (8, 4), torch.zeros(3), 0.5, 7, 1, **options)
    ((cubin, symbol, grid, block, shared, arguments, constants),) = seen
    assert (
        cubin[:4] == b"\x7fELF"
        and symbol == "_Z1kPffid"
        and (grid, block, shared) == ((2, 1, 1), (8, 4, 1), 100)
    )
    assert [type(a) for a in arguments] == [torch.Tensor, np.float32, np.int32, np.float64]
    assert constants["w"].tolist() == [1, 2] and report.device == "a card"


def has_standard_library():
    return any((Path(folder) / "cuda/std/type_traits").exists() for folder in nvrtc._headers())


def to_gpu(args):
    return tuple(a.cuda() if isinstance(a, torch.Tensor) else a for a in args)


@needs_gpu
@pytest.mark.gpu
@pytest.mark.parametrize("mode", ["checked", "fast"])
@pytest.mark.parametrize("name", CASES)
def test_gpu_and_cpu_agree(name, mode):
    case = CASES[name]
    if "cooperative_groups" in case.source and not has_standard_library():
        pytest.skip("cooperative_groups.h needs CUDA's C++ library: pip install nvidia-cuda-cccl")
    case.run()
    args = [a.cuda() if isinstance(a, torch.Tensor) else a for a in case.args]
    out = next(i for i, a in enumerate(case.args) if a is case.out)
    args[out] = case.start.cuda()
    kernel = cuda.compile(case.source, case.name)
    kernel.launch(case.grid, case.block, *args, **case.options, mode=mode)
    torch.testing.assert_close(args[out].cpu(), case.out, rtol=1e-4, atol=case.tolerance)


@needs_gpu
@pytest.mark.gpu
def test_a_wild_kernel_leaves_this_process_alone():
    wild = cuda.compile("__global__ void k(float* out) { out[1ll << 40] = 1.0f; }")
    with pytest.raises(gpu.GpuError, match="illegal"):
        wild[1, 1](torch.zeros(1, device="cuda"))
    good = cuda.compile("__global__ void k(float* out) { out[0] = 1.0f; }")
    out = torch.zeros(1, device="cuda")
    assert good[1, 1](out).milliseconds is not None and out.item() == 1


@needs_gpu
@pytest.mark.gpu
def test_an_endless_kernel_is_stopped():
    endless = cuda.compile("__global__ void k(volatile float* out) { while (out[0] == 0.0f) {} }")
    with pytest.raises(gpu.GpuError, match="did not end within 1 s"):
        endless.launch(1, 1, torch.zeros(1, device="cuda"), timeout=1.0)


@needs_gpu
@pytest.mark.gpu
def test_torchs_stream_is_used_and_shared_memory_opted_into():
    source = """__global__ void k(const float* in, float* out, int n) {
        extern __shared__ float s[];
        for (int i = threadIdx.x; i < n; i += blockDim.x) s[i] = in[i];
        __syncthreads();
        for (int i = threadIdx.x; i < n; i += blockDim.x) out[i] = s[n - 1 - i];
    }"""
    n = 20_000  # 80,000 bytes: beyond the 48 KB that need no opting in
    kernel, stream = cuda.compile(source), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.randn(n, device="cuda")
        out = torch.empty_like(x)
        kernel.launch(1, 256, x, out, n, shared_bytes=4 * n, mode="fast")
        result = out.cpu()
    assert result.equal(x.cpu().flip(0))


@needs_gpu
@pytest.mark.gpu
def test_a_layer_trains_on_the_gpu():
    from cnnlab.cuda.layer import KernelConv2d

    layer = KernelConv2d(1, 2, 3, padding=1, device="cuda")
    x = torch.randn(2, 1, 8, 8, device="cuda")
    want = torch.nn.functional.conv2d(x, layer.weight, layer.bias, padding=1)
    torch.testing.assert_close(layer(x), want, rtol=1e-3, atol=1e-4)
    layer(x).square().mean().backward()
    assert layer.weight.grad.isfinite().all()
