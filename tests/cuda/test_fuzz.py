# ruff: noqa: E501 (kernels and sentences)
"""The simulator stands: mutants of correct kernels never bring it down, nor its sanitised build."""

import random
import re
from concurrent.futures import ThreadPoolExecutor

import pytest
from battery import make

from cnnlab import cuda
from cnnlab.cuda import compiler

SWAPS = [
    ("<", "<=", ">", ">=", "==", "!="),
    ("+", "-", "*", "/", "%"),
    ("+=", "-=", "*=", "="),
    ("threadIdx.x", "threadIdx.y", "blockIdx.x", "blockIdx.y", "blockDim.x"),
    ("__syncthreads()", "__syncwarp()", "__threadfence()"),
    ("&&", "||"),
    ("float", "int", "unsigned", "double"),
]
NUMBERS = ["0", "1", "2", "31", "33", "1000", "1 << 20", "1 << 30", "-1", "0u - 1"]


def mutate(source: str, chance: random.Random) -> str:
    for _ in range(chance.randint(1, 3)):
        how = chance.randrange(4)
        lines = source.split("\n")
        if how == 0:
            group = chance.choice(SWAPS)
            found = [
                m
                for old in group
                for m in re.finditer(rf"(?<=[\w) ]){re.escape(old)}(?=[\s(\w;])", source)
            ]
            if found:
                m = chance.choice(found)
                source = source[: m.start()] + chance.choice(group) + source[m.end() :]
        elif how == 1:
            numbers = list(re.finditer(r"(?<![\w.])\d+(?![\w.])", source))
            if numbers:
                m = chance.choice(numbers)
                source = source[: m.start()] + chance.choice(NUMBERS) + source[m.end() :]
        else:
            statements = [i for i, line in enumerate(lines) if line.rstrip().endswith(";")]
            i = chance.choice(statements)
            if how == 2:
                lines[i] = ""
            else:
                lines.insert(chance.choice(statements), lines[i])
            source = "\n".join(lines)
    return source


def survive(count: int, seed: int, threads: int) -> int:
    """Run mutants; the number that compiled and ran to some report."""
    cases, chance = list(make().values()), random.Random(seed)
    mutants = []
    for i in range(count):
        case = cases[i % len(cases)]
        mutants.append((case, mutate(case.source, chance), chance.random() < 0.5))

    def one(mutant):
        case, source, reverse = mutant
        args = tuple(a.clone() if hasattr(a, "clone") else a for a in case.args)
        try:
            kernel = cuda.compile(source, case.name, use_nvrtc=False)
            report = kernel.launch(
                case.grid, case.block, *args, **case.options, reverse=reverse, timeout=2.0
            )
        except (cuda.CompileError, cuda.LaunchError):  # refused, as where a float became an int
            return 0
        except cuda.KernelFailed as error:
            known = r"host function|array of no size|__shared__ arrays take|bytes of shared memory|more than a process|no __constant__|__constant__ arrays|holds \d+ bytes"
            assert re.search(known, str(error)), source
            return 0
        assert str(report) and report._repr_html_() and report.to_json()
        for finding in report.findings:
            assert finding.raw != "failure" or finding.kind == "infinite-loop", (finding, source)
        assert report.finished or report.findings
        return 1

    with ThreadPoolExecutor(threads) as pool:
        return sum(pool.map(one, mutants))


def test_a_few_mutants():
    assert survive(40, seed=1, threads=2) > 15


@pytest.mark.slow
def test_a_thousand_mutants():
    assert survive(1000, seed=2, threads=2) > 350


@pytest.fixture
def sanitised(monkeypatch):
    """The launcher built with AddressSanitizer and UndefinedBehaviorSanitizer."""
    flags = "-g -fsanitize=address,undefined -fno-sanitize-recover=undefined"
    monkeypatch.setenv("CNNLAB_SIM_FLAGS", flags)
    compiler.launcher.cache_clear()
    yield
    compiler.launcher.cache_clear()


@pytest.mark.slow
def test_the_simulator_is_clean_under_sanitizers(sanitised):
    for name, case in make().items():
        for mode in ("checked", "fast"):
            assert case.run(mode=mode).ok, name
    assert survive(300, seed=3, threads=2) > 100
