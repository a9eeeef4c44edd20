"""The battery of kernels under NVIDIA's compute-sanitizer, beside what cnnlab finds without a GPU.

``make check-sanitizer``, on a machine with a GPU and the CUDA toolkit. Every seeded mistake and
every correct kernel (the control) runs under all four tools, each in a process of its own.
"""

import copy
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from benchmarks._report import save
from cnnlab import cuda

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/cuda"))
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


def launches() -> list[tuple]:
    """Name, case and the kinds of which one must be found (none: the kernel is correct)."""
    import battery_courses
    from battery import BUGS, make

    cases = make() | battery_courses.make()
    return [(name, case, frozenset()) for name, case in cases.items()] + [
        (name, replace(case, source=case.source.replace(old, new, 1)), frozenset(kinds))
        for name, old, new, kinds in BUGS + battery_courses.BUGS
        for case in [copy.deepcopy(cases[name])]
    ]


def prepare(case, folder: Path) -> None:
    """Compile one launch and write it for `_launch`."""
    kernel = cuda.compile(case.source, case.name)
    nvidia = kernel.nvidia_for("sm_{}{}".format(*torch.cuda.get_device_capability()))
    arguments = []
    for parameter, value in zip(kernel.parameters, case.args, strict=True):
        if parameter.pointer:
            arguments.append((b"" if value is None else _bytes(value), True))
        else:
            arguments.append((_bytes(torch.tensor([value], dtype=parameter.dtype)), False))
    constants = case.options.get("constants", {})
    launch = {
        "cubin": nvidia.cubin,
        "symbol": nvidia.symbol,
        "grid": _three(case.grid),
        "block": _three(case.block),
        "shared_bytes": case.options.get("shared_bytes", 0),
        "arguments": arguments,
        "constants": {name: _bytes(torch.as_tensor(value)) for name, value in constants.items()},
        "output": next(i for i, value in enumerate(case.args) if value is case.out),
    }
    (folder / "launch").write_bytes(pickle.dumps(launch))


def _bytes(tensor: torch.Tensor) -> bytes:
    return tensor.contiguous().view(torch.uint8).numpy().tobytes()


def _three(sizes) -> tuple[int, int, int]:
    sizes = (sizes,) if isinstance(sizes, int) else tuple(sizes)
    return sizes + (1,) * (3 - len(sizes))


def errors(text: str) -> int:
    """How many errors a tool's summary counts."""
    found = re.findall(r"(?:ERROR SUMMARY: (\d+) error|\((\d+) errors?, \d+ warnings?\))", text)
    return sum(int(a or b) for a, b in found)


def check(case, folder: Path, tool: str) -> tuple[int, str]:
    """Errors that one tool counts for one launch, and how its output was."""
    mine = folder / tool
    mine.mkdir()
    (mine / "launch").symlink_to(folder / "launch")
    words = ["compute-sanitizer", "--tool", tool, "--report-api-errors", "no", sys.executable]
    process = subprocess.Popen(
        [*words, ROOT / "benchmarks/_launch.py", mine], text=True, start_new_session=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        told, _ = process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)  # the tool and the launch, which does not end
        process.wait()
        return 0, "none"
    if not (mine / "output").exists():
        return errors(told), "none"
    out = torch.frombuffer(bytearray((mine / "output").read_bytes()), dtype=case.out.dtype)
    right = replace(case, out=out.reshape(case.out.shape)).right
    return errors(told), "right" if right else "wrong"


def check_all(case, folder: Path) -> tuple[frozenset, list[str], bool]:
    """The kinds that cnnlab finds, the tools that find any, whether the output is right."""
    folder.mkdir()
    ours = frozenset(case.run(timeout=5.0).kinds)
    case.out.copy_(case.start)
    try:
        prepare(case, folder)
    except cuda.CompileError:  # NVIDIA's compiler refuses it: nothing runs
        return ours, [], False
    told = {tool: check(case, folder, tool) for tool in TOOLS}
    return ours, [t for t in TOOLS if told[t][0]], any(out == "right" for _, out in told.values())


def main() -> None:
    if not torch.cuda.is_available() or not shutil.which("compute-sanitizer"):
        sys.exit("this check needs a GPU and compute-sanitizer (of the CUDA toolkit)")
    all_launches, rows = launches(), []
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(os.cpu_count()) as pool:
        folders = (Path(folder, str(i)) for i in range(len(all_launches)))
        results = []
        for result in pool.map(check_all, (case for _, case, _ in all_launches), folders):
            print(*all_launches[len(results)][::2], *result, sep=" | ", flush=True)
            results.append(result)
    totals = {"kernels": [0, 0, 0, 0], "mistakes": [0, 0, 0, 0]}
    for (name, _, kinds), (ours, theirs, right) in zip(all_launches, results, strict=True):
        count = totals["mistakes" if kinds else "kernels"]
        for k, yes in enumerate((True, bool(ours & kinds if kinds else ours), theirs, right)):
            count[k] += bool(yes)
        if kinds:
            told = (", ".join(sorted(x)) or "nothing" for x in (ours, theirs))
            rows.append([name, ", ".join(sorted(kinds)), *told, "right" if right else "wrong"])
    rows.insert(0, ["all mistakes", *map(str, totals["mistakes"])])
    rows.insert(1, ["all correct kernels (the control)", *map(str, totals["kernels"])])
    save(
        "cuda_sanitizer",
        title="Seeded mistakes: cnnlab without a GPU, compute-sanitizer on one",
        question="Who finds a mistake, and would its output have shown it?",
        columns=["kernel", "mistake", "cnnlab", "compute-sanitizer", "output on the card"],
        rows=rows,
        packages=["torch", "cuda-core"],
        notes=[
            f"On {torch.cuda.get_device_name()}; {', '.join(TOOLS)}, each launch in its process. "
            "The first two rows count: launches, found by cnnlab, by any tool, right output."
        ],
    )


if __name__ == "__main__":
    main()
