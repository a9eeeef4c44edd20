"""All that only a GPU can show, in one go: ``make gpu PYTHON=python3`` on a lab machine.

Names of stages choose some: ``python -m benchmarks.gpu tests``.

Stage by stage: the GPU's tests, the lectures on CUDA, and the benchmarks. After each stage
``docs/benchmarks/gpu.json`` says how it went, so that a run cut short leaves what it had; the
benchmarks write their own files beside it. Needs torch, torchvision, numpy, matplotlib,
scikit-learn and pytest; a stage that lacks more says so and the others go on.
"""

import importlib.util
import os
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import torch

from benchmarks import _report

ROOT = Path(__file__).parents[1]
TESTS = [  # by name: collecting all of tests/ would need what a lab machine lacks
    "tests/cuda/test_gpu.py",
    "tests/layers/test_conv.py",
    "tests/models/test_learning.py",
    "tests/models/test_numerics.py",
    "tests/models/test_torchvision.py",
    "tests/test_device.py",
    "tests/test_parallel.py",
    "tests/test_training.py",
]


@dataclass(frozen=True)
class Stage:
    """A module or a script to run, the seconds it may take, and what it needs beyond torch."""

    name: str
    arguments: list[str]
    seconds: int
    needs: list[str] = field(default_factory=list)


STAGES = [
    Stage("tests", ["-m", "pytest", "-q", "-m", "gpu and not slow", *TESTS], 180,
          ["pytest", "hypothesis"]),
    Stage("lectures", ["-m", "benchmarks.lectures"], 150, ["nbclient", "ipykernel"]),
    Stage("kernels", ["-m", "benchmarks.cuda", "--gpu-only"], 60, ["cuda.core"]),
    Stage("networks", ["-m", "benchmarks.models", "12"], 60),
    Stage("training", ["-m", "benchmarks.training", "--rounds", "3", "--steps", "6"], 120),
]  # fmt: skip


def missing(stage: Stage) -> list[str]:
    """What the stage needs and this Python has not."""
    found = {}
    for name in stage.needs:
        try:
            found[name] = importlib.util.find_spec(name) is not None
        except ModuleNotFoundError:  # the package that it lies in
            found[name] = False
    return [name for name, there in found.items() if not there]


def run(stage: Stage) -> list:
    """Run a stage; returns its row: name, how it ended, seconds, and its last line."""
    print(f"--- {stage.name}", flush=True)
    if lacking := missing(stage):
        return [stage.name, "not run", 0.0, f"pip install {' '.join(lacking)}"]
    start = time.monotonic()
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    environment = {**os.environ, "CNNLAB_DEVICE": "cuda", "CNNLAB_WIDGETS": "off"}
    environment["PYTHONPATH"] = paths  # a kernel starts in the lectures' folder
    process = subprocess.Popen(
        [sys.executable, *stage.arguments],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        told, _ = process.communicate(timeout=stage.seconds)
        ended = "passed" if process.returncode == 0 else f"FAILED (status {process.returncode})"
    except subprocess.TimeoutExpired:
        process.kill()
        told, _ = process.communicate()
        ended = f"cut off after {stage.seconds} s"
    print(told, flush=True)
    lines = [line for line in told.splitlines() if line.strip()] or [""]
    last = lines[-1].strip("= ") if stage.name in ("tests", "lectures") else ""
    return [stage.name, ended, time.monotonic() - start, last]


def main() -> int:
    if not torch.cuda.is_available():
        sys.exit("There is no GPU here that torch can use; `cnnlab doctor` says why.")
    rows, chosen = [], sys.argv[1:] or [stage.name for stage in STAGES]
    for stage in (stage for stage in STAGES if stage.name in chosen):
        rows.append(run(stage))
        print(f"--- {stage.name}: {rows[-1][1]}, {rows[-1][2]:.0f} s", flush=True)
        _report.save(
            "gpu",
            title="What only a GPU can show",
            question="Do the GPU's tests pass, and do the lectures print on CUDA what they store?",
            columns=["stage", "ended", "seconds", "last words"],
            rows=rows,
            packages=["torch", "torchvision", "cuda-core"],
            quiet=True,
        )
    return int(any(row[1] != "passed" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
