"""The battery of kernels under NVIDIA's compute-sanitizer, beside what cnnlab finds without a GPU.

``make check-sanitizer``, on a machine with a GPU and the CUDA toolkit. Every seeded mistake and
every correct kernel (the control) runs under all four tools, each in a process of its own.
"""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from benchmarks._report import save

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests/cuda"))
TOOLS = ("memcheck", "racecheck", "initcheck", "synccheck")


def launches() -> list[tuple[str, str, frozenset]]:
    """Kernel, source and the kinds of which one must be found (none: it is correct)."""
    from battery import BUGS, make

    cases = make()
    correct = [(name, case.source, frozenset()) for name, case in cases.items()]
    return correct + [
        (name, cases[name].source.replace(old, new, 1), frozenset(kinds))
        for name, old, new, kinds in BUGS
    ]


def run_on_gpu(number: int) -> None:
    """One launch in this process, as the tool is to see it; says whether the output was right."""
    from battery import make

    from cnnlab import cuda

    name, source, _ = launches()[number]
    case = make()[name]
    on_gpu = {
        id(a): a.cuda() for a in (*case.args, case.out) if isinstance(a, torch.Tensor)
    }  # the output may stand among the arguments
    kernel = cuda.compile(source, case.name)
    arguments = [on_gpu.get(id(a), a) for a in case.args]
    kernel.launch(case.grid, case.block, *arguments, **case.options, mode="fast")
    torch.cuda.synchronize()
    case.out.copy_(on_gpu[id(case.out)])
    print("RIGHT" if case.right else "WRONG")


def errors(text: str) -> int:
    """How many errors a tool's summary counts."""
    found = re.findall(r"(?:ERROR SUMMARY: (\d+) error|\((\d+) errors?, \d+ warnings?\))", text)
    return sum(int(a or b) for a, b in found)


def check(number: int, tool: str) -> tuple[int, str]:
    """Errors that one tool counts for one launch, and how its output was."""
    words = ["compute-sanitizer", "--tool", tool, "--report-api-errors", "no"]
    words += [sys.executable, "-m", "benchmarks.sanitizer", str(number)]
    try:
        done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=180)
    except subprocess.TimeoutExpired:
        return 0, "none"
    output = re.search(r"^(RIGHT|WRONG)$", done.stdout, re.M)
    return errors(done.stdout + done.stderr), output[1] if output else "none"


def main() -> None:
    if not torch.cuda.is_available() or not shutil.which("compute-sanitizer"):
        sys.exit("this check needs a GPU and compute-sanitizer (of the CUDA toolkit)")
    from battery import make

    cases, all_launches, rows = make(), launches(), []
    jobs = [(i, tool) for i in range(len(all_launches)) for tool in TOOLS]
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = dict(zip(jobs, pool.map(lambda job: check(*job), jobs), strict=True))
    totals = {"kernels": [0, 0, 0, 0], "mistakes": [0, 0, 0, 0]}
    for i, (name, source, kinds) in enumerate(all_launches):
        ours = cases[name].run(source, timeout=1.0).kinds
        theirs = [tool for tool in TOOLS if results[i, tool][0]]
        right = any(results[i, tool][1] == "RIGHT" for tool in TOOLS)
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
    run_on_gpu(int(sys.argv[1])) if len(sys.argv) > 1 else main()
