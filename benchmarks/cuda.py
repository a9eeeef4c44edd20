"""Times of the CUDA lab: on the CPU against numba's simulator, on a GPU against a copy and cuDNN.

``make bench-cuda`` runs what the machine can: without a GPU the first two tables only.
"""

import contextlib
import functools
import importlib.util
import itertools
import os
import platform
import statistics
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks._report import DOCS, interleaved, ratio, save, time
from cnnlab import cuda
from cnnlab.assignments.ladder import LADDER
from cnnlab.assignments.sources import judge_source
from cnnlab.cuda.ladder import reference_source

SIDE, K = 512, 5
KERNELS = {  # rung: file, kernel, grid for a side, block
    "naive, constant filter": ("constant.cu", "conv2d", lambda n: (-(-n // 16),) * 2, (16, 16)),
    "tiled 16×16": ("tiled.cu", "conv2d<5, 16>", lambda n: (-(-n // 16),) * 2, (16, 16)),
    "tiled 32×32": ("tiled.cu", "conv2d<5, 32>", lambda n: (-(-n // 32),) * 2, (32, 32)),
    "coarsened, 8 rows a thread": (
        "coarsened.cu", "conv2d<5, 32, 4, 8>", lambda n: (-(-n // 32),) * 2, (32, 4)
    ),
}  # fmt: skip


def _launcher(file, name, grid, block, side, mode):
    """A function that launches an already compiled kernel on a ``side × side`` image."""
    image, taps, out = torch.randn(side, side), torch.randn(K, K), torch.empty(side, side)
    kernel = cuda.compile(reference_source(file), name, use_nvrtc=False)
    kernel.built(mode)
    sizes = (K, side, side) if name == "conv2d" else (side, side)

    def launch():
        report = kernel.launch(
            grid(side), block, image, out, *sizes, constants={"filter": taps}, mode=mode
        )
        return report.raise_for_findings()

    launch()
    want = F.conv2d(image[None, None], taps[None, None], padding=K // 2)[0, 0]
    torch.testing.assert_close(out, want, rtol=1e-4, atol=1e-4)
    return launch


def _cold(file, name, grid, block):
    def run():
        image, out = torch.randn(SIDE, SIDE), torch.empty(SIDE, SIDE)
        kernel = cuda.compile(reference_source(file), name, use_nvrtc=False)
        sizes = (K, SIDE, SIDE) if name == "conv2d" else (SIDE, SIDE)
        constants = {"filter": torch.randn(K, K)}
        kernel.launch(
            grid(SIDE), block, image, out, *sizes, constants=constants
        ).raise_for_findings()

    return run


def cpu_times(rounds: int = 11) -> None:
    """Compile, fast and checked times on this machine's CPU."""
    cuda.compiler.launcher()  # built once a machine, not once a kernel
    candidates = {}
    for title, (file, name, grid, block) in KERNELS.items():
        candidates[title, "fast"] = _launcher(file, name, grid, block, SIDE, "fast")
        candidates[title, "checked"] = _launcher(file, name, grid, block, SIDE, "checked")
        candidates[title, "cold"] = _cold(file, name, grid, block)
    candidates["judge"] = lambda: judge_source(LADDER["tiled"].source, LADDER["tiled"].spec)
    seconds = interleaved(candidates, rounds=rounds, warmup=1)
    rows = [
        [title, *(time(seconds[title, how]) for how in ("fast", "checked", "cold"))]
        for title in KERNELS
    ]
    cases = len(LADDER["tiled"].spec.cases(0))
    rows.append([f"grading: {cases} cases and the counters", "", "", time(seconds["judge"])])
    save(
        "cuda",
        title="CUDA kernels on a CPU",
        question=f"How long does a {SIDE}×{SIDE} image with a {K}×{K} filter take without a GPU?",
        columns=["kernel", "fast", "checked", "checked, cold, compile included"],
        rows=rows,
        packages=["torch", "cuda-core"],
        notes=[
            "Wall time of a launch from Python: copying, the sandboxed process, the report.",
            "Checked: every load and store is observed. Cold leaves NVRTC out, which reads a "
            "source first where it is installed (0.04 to 0.1 s, and once 0.2 s to import it); the "
            "grading row has it in a process of its own.",
            "What the kernels reach on a GPU stands in the tables of the ladder, as far as it was "
            "measured; `make bench-cuda` on a machine with a GPU writes them anew.",
        ],
    )


def _numba_naive(image, taps, out):
    col, row = numba_cuda.grid(2)
    h, w = image.shape
    if row < h and col < w:
        total = float32(0)
        for j in range(5):
            for i in range(5):
                r, c = row - 2 + j, col - 2 + i
                if 0 <= r < h and 0 <= c < w:
                    total += image[r, c] * taps[j, i]
        out[row, col] = total


def _numba_tiled(image, taps, out):
    tile = numba_cuda.shared.array((20, 20), float32)
    tx, ty = numba_cuda.threadIdx.x, numba_cuda.threadIdx.y
    h, w = image.shape
    top, left = numba_cuda.blockIdx.y * 16 - 2, numba_cuda.blockIdx.x * 16 - 2
    for j in range(ty, 20, 16):
        for i in range(tx, 20, 16):
            r, c = top + j, left + i
            tile[j, i] = image[r, c] if 0 <= r < h and 0 <= c < w else 0
    numba_cuda.syncthreads()
    row, col = top + 2 + ty, left + 2 + tx
    if row < h and col < w:
        total = float32(0)
        for j in range(5):
            for i in range(5):
                total += tile[ty + j, tx + i] * taps[j, i]
        out[row, col] = total


def numba_times(sides: tuple[int, ...] = (64, 256), rounds: int = 3) -> None:
    """The same kernels in numba's CUDA simulator."""
    global numba_cuda, float32
    os.environ["NUMBA_ENABLE_CUDASIM"] = "1"  # numba reads it when it is imported
    from numba import cuda as numba_cuda
    from numba import float32

    kernels = {"naive, constant filter": _numba_naive, "tiled 16×16": _numba_tiled}
    taps = np.random.default_rng(0).standard_normal((5, 5), np.float32)
    candidates, alone = {}, {}
    for side in sides:
        image = np.random.default_rng(1).standard_normal((side, side), np.float32)
        out, grid = np.zeros_like(image), (-(-side // 16),) * 2
        for title, theirs in kernels.items():
            candidates[side, title, "numba"] = functools.partial(
                numba_cuda.jit(theirs)[grid, (16, 16)], image, taps, out
            )
            launch, seconds = _launcher(*KERNELS[title], side, "checked"), []
            candidates[side, title, "ours"] = lambda launch=launch, seconds=seconds: seconds.append(
                launch().milliseconds / 1e3
            )
            alone[side, title] = seconds
    seconds = interleaved(candidates, rounds=rounds, warmup=0)
    save(
        "cuda_simulators",
        title="A CPU in place of a GPU: numba's simulator",
        question="How long does an image with a 5×5 filter take in a simulator?",
        columns=[
            "image",
            "kernel",
            "numba, no checks",
            "cnnlab, every access checked",
            "cnnlab, the kernel alone",
            "numba against cnnlab",
            "against the kernel alone",
        ],
        rows=[
            [
                f"{side}×{side}",
                title,
                time(seconds[side, title, "numba"]),
                time(seconds[side, title, "ours"]),
                time(alone[side, title]),
                ratio(seconds[side, title, "numba"], seconds[side, title, "ours"]),
                ratio(seconds[side, title, "numba"], alone[side, title]),
            ]
            for side, title in alone
        ],
        packages=["torch", "numba"],
        notes=[
            "Both compiled beforehand. cnnlab's time holds its process and its report, a few "
            "milliseconds whatever the image; the kernel alone is the processor time of the "
            "checked grid."
        ],
    )


# ---- on a GPU -----------------------------------------------------------------------------------


def _gpu_seconds(
    candidates: dict, inputs: int, rounds: int = 25, warmup: int = 3
) -> dict[str, list[float]]:
    """CUDA-event times: every candidate once a round, inputs rotating so that no cache helps.

    Before each the GPU is given a millisecond of other work, behind which the launch from Python
    is hidden: the events hold the kernel alone.
    """
    seconds = {name: [] for name in candidates}
    busy = torch.empty(2, 1 << 28, device="cuda")
    for round_ in range(-warmup, rounds):
        for name, run in candidates.items():
            start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            busy[0].copy_(busy[1])
            start.record()
            run(round_ % inputs)
            end.record()
            end.synchronize()
            if round_ >= 0:
                seconds[name].append(start.elapsed_time(end) / 1e3)
    return seconds


def _rungs(k: int) -> dict[str, tuple[str, str, tuple[int, int], tuple[int, int]]]:
    """Each single-channel rung for a K×K filter: file, name, block, pixels a block covers."""
    rungs = {
        "naive, filter in global memory": ("coalescing.cu", "conv2d", (32, 8), (32, 8)),
        "naive, constant filter": ("constant.cu", "conv2d", (32, 8), (32, 8)),
        "tiled 32×32": ("tiled.cu", f"conv2d<{k}, 32>", (32, 32), (32, 32)),
        "coarsened, 8 rows a thread": (
            "coarsened.cu", f"conv2d<{k}, 64, 4, 8>", (64, 4), (64, 32)
        ),
    }  # fmt: skip
    for warps, height in itertools.product((2, 4, 8), (16, 32, 64) if k <= 9 else ()):
        rows = k * (height // k) + 1  # with the halo a multiple of k: no row of work is wasted
        name = f"conv2d<{k}, {warps}, {rows}>"
        rungs[f"streaming {name[6:]}"] = "streaming.cu", name, (32, warps), (120 * warps, rows)
    return rungs


def _compiled(wanted: set[tuple[str, str]]) -> dict[tuple[str, str], cuda.Kernel]:
    """Kernels by file and name, compiled side by side."""

    def make(file: str, name: str) -> cuda.Kernel:
        kernel = cuda.compile(reference_source(file), name)
        with contextlib.suppress(cuda.CompilerMissing):
            kernel.built("fast")  # which names its constants
        return kernel

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(wanted, pool.map(lambda job: make(*job), wanted), strict=True))


def gpu_image_times(side: int = 16384) -> list[dict]:
    """Each single-channel rung as a fraction of a device-to-device copy of the same image."""
    with torch.backends.cudnn.flags(enabled=True, allow_tf32=False):  # the rungs are float32
        points, rows = _image_points(side)
    save(
        "cuda_gpu",
        title="The ladder on a GPU",
        question=f"How near does each rung come to a copy of a {side}×{side} float image?",
        columns=["filter", "kernel", "time", "of copy"],
        rows=rows,
        packages=["torch", "cuda-core"],
        notes=[
            _gpu_note(),
            "CUDA events, inputs rotated, launches hidden behind other work; of copy: the copy's "
            "time over the kernel's. Streaming: K, warps a block, rows a warp, the fastest of "
            "those tried on this card.",
            "![Each rung's TFLOP/s over its FLOPs a byte, below the roof of memory and arithmetic.]"
            "(benchmarks/cuda_roofline.png)",
        ],
    )
    return points


def _image_points(side: int) -> tuple[list[dict], list[list]]:
    """The points of the roofline and the rows of the table, filter by filter."""
    images = [torch.randn(side, side, device="cuda") for _ in range(3)]
    out = torch.empty(side, side, device="cuda")
    rungs = {k: _rungs(k) for k in (3, 5, 7, 11)}
    kernels = _compiled({rung[:2] for k in rungs for rung in rungs[k].values()})
    points, rows = [], []
    for k in rungs:
        taps = torch.randn(k, k)
        weight = taps.cuda()[None, None]
        want = F.conv2d(images[0][None, None, :512, :512], weight, padding=k // 2)[0, 0]
        inner = slice(k, 512 - k)
        candidates = {
            "copy": lambda i: out.copy_(images[i]),
            "torch conv2d, IEEE float32": lambda i, w=weight, p=k // 2: F.conv2d(
                images[i][None, None], w, padding=p
            ),
        }
        for title, (file, name, block, covers) in rungs[k].items():
            kernel = kernels[file, name]
            grid = (-(-side // covers[0]), -(-side // covers[1]))
            before = (taps.cuda().contiguous(),) if file == "coalescing.cu" else ()
            after = (k, side, side) if name == "conv2d" else (side, side)

            def run(i, kernel=kernel, grid=grid, block=block, before=before, after=after, **given):
                kernel.launch(grid, block, images[i], *before, out, *after, mode="fast", **given)

            run(0, constants={} if before else {"filter": taps})  # and there the filter stays
            torch.testing.assert_close(out[inner, inner], want[inner, inner], rtol=1e-4, atol=1e-3)
            candidates[title] = run
        shapes = {title: run for title, run in candidates.items() if title.startswith("streaming")}
        tried = _gpu_seconds(shapes, len(images), rounds=5, warmup=1)
        fastest = min(tried, key=lambda title: statistics.median(tried[title]), default="")
        kept = {
            title: run
            for title, run in candidates.items()
            if title not in tried or title == fastest
        }
        seconds = _gpu_seconds(kept, len(images))
        for title in kept:
            rows.append(
                [f"{k}×{k}", title, time(seconds[title]), ratio(seconds["copy"], seconds[title])]
            )
            median = statistics.median(seconds[title])
            rung = title.partition("<")[0].rstrip(", ")
            points.append({"k": k, "title": rung, "pixels_per_second": side * side / median})
    return points, rows


def gpu_layer_times() -> None:
    """Multi-channel rungs as a fraction of cuDNN, in float32 with TF32 off and on."""
    n, c, h, o, k = 64, 64, 56, 64, 3
    xs = [torch.randn(n, c, h, h, device="cuda") for _ in range(3)]
    weight, bias = torch.randn(o, c, k, k, device="cuda"), torch.randn(o, device="cuda")
    y = torch.empty(n, o, h, h, device="cuda")
    sizes = (c, h, h, o, k, 1, 1, 1, h, h)
    names = (
        ("channels.cu", ""),
        ("implicit_gemm.cu", "conv2d<16, 4>"),
        ("tensor_conv.cu", f"conv2d<{k}>"),
    )
    direct, implicit, tensor = map(_compiled(set(names)).get, names)

    def cudnn(tf32):
        def run(i):
            with torch.backends.cudnn.flags(enabled=True, benchmark=True, allow_tf32=tf32):
                F.conv2d(xs[i], weight, bias, padding=1)

        return run

    candidates = {
        "cuDNN, IEEE float32": cudnn(False),
        "cuDNN, TF32": cudnn(True),
        "direct": lambda i: direct.launch(
            (-(-h * h // 256), o, n), 256, xs[i], weight, bias, y, *sizes, mode="fast"
        ),
        "implicit GEMM, 4×4 in registers": lambda i: implicit.launch(
            (-(-h * h // 64), 1, n), (16, 16), xs[i], weight, bias, y, *sizes, mode="fast"
        ),
        "tensor cores, TF32": lambda i: tensor.launch(
            (-(-h * h // 128), 1, n), 256, xs[i], weight, bias, y, *sizes, mode="fast"
        ),
    }
    for name in ("implicit GEMM, 4×4 in registers", "tensor cores, TF32"):
        candidates[name](0)
        want = F.conv2d(xs[0].double(), weight.double(), bias.double(), padding=1)
        torch.testing.assert_close(y.double(), want, rtol=1e-2, atol=1e-1)
    seconds = _gpu_seconds(candidates, len(xs))
    base, base_tf32 = seconds["cuDNN, IEEE float32"], seconds["cuDNN, TF32"]
    save(
        "cuda_gpu_layer",
        title="A convolution layer on a GPU",
        question=f"How do the rungs compare with cuDNN ({n}×{c}×{h}×{h}, {o} {k}×{k} filters)?",
        columns=["kernel", "time", "of cuDNN in IEEE float32", "of cuDNN in TF32"],
        rows=[
            [title, time(s), ratio(base, s), ratio(base_tf32, s)] for title, s in seconds.items()
        ],
        packages=["torch", "cuda-core"],
        notes=[_gpu_note(), "CUDA events, inputs rotated."],
    )


def _gpu_note() -> str:
    return f"On {torch.cuda.get_device_name()}, driver API {torch.version.cuda}."


def peak_float32() -> float:
    """FLOP/s of this card: two in each of 128 lanes of a multiprocessor, at the highest clock."""
    card = torch.cuda.get_device_properties(0)
    kilohertz = getattr(card, "clock_rate", 1.98e6)  # not every torch tells it
    return 2 * 128 * card.multi_processor_count * kilohertz * 1e3


def draw_roofline(points: list[dict], card: str, peak: float, docs: Path = DOCS):
    """The measured rungs under the roof that this run's copy and the card's own clocks give."""
    from matplotlib.figure import Figure

    copy = 8 * max(p["pixels_per_second"] for p in points if p["title"] == "copy")  # bytes/s
    figure = Figure(figsize=(8, 5), layout="constrained")
    axes = figure.subplots()
    intensity = np.logspace(-0.5, 2, 100)
    axes.loglog(
        intensity,
        np.minimum(peak, copy * intensity) / 1e12,
        color="black",
        label="roof: this run's copy, peak float32",
    )
    titles = [t for t in dict.fromkeys(p["title"] for p in points) if t != "copy"]
    for marker, title in zip(itertools.cycle("os^Dv*PX"), titles, strict=False):
        chosen = [p for p in points if p["title"] == title]
        flops = [2 * p["k"] ** 2 for p in chosen]
        axes.plot(
            [f / 8 for f in flops],
            [p["pixels_per_second"] * f / 1e12 for p, f in zip(chosen, flops, strict=True)],
            marker=marker, label=title,
        )  # fmt: skip
    axes.set(xlabel="FLOPs a byte of DRAM traffic (8 bytes a pixel)", ylabel="TFLOP/s", title=card)
    axes.legend(fontsize=9)
    figure.savefig(docs / "benchmarks" / "cuda_roofline.png", dpi=120)
    return figure


def main() -> None:
    if platform.system() != "Linux":
        sys.exit("the CUDA lab runs on Linux")
    if "--gpu-only" not in sys.argv:
        cpu_times()
        if importlib.util.find_spec("numba"):
            numba_times()
        else:
            print("numba is not installed: the simulators were not compared")
    if torch.cuda.is_available():
        draw_roofline(gpu_image_times(), torch.cuda.get_device_name(), peak_float32())
        gpu_layer_times()
    else:
        print("no GPU here: the GPU tables were not made")


if __name__ == "__main__":
    main()
