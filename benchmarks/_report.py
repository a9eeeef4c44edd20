"""What every benchmark shares: interleaved timing, one JSON file of figures, one page of tables.

A benchmark times its candidates with `interleaved` in ONE run, so that a busy machine slows all
of them alike, puts the figures in a table and calls `save`::

    seconds = interleaved({"ours": run_ours, "theirs": run_theirs}, rounds=20)
    save(
        "resize",
        title="Resizing an image",
        question="How long does one 224×224 image take?",
        columns=["library", "time", "against ours"],
        rows=[[name, time(s), ratio(s, seconds["ours"])] for name, s in seconds.items()],
        packages=["torch", "torchvision"],
    )

`python -m benchmarks._report` makes ``docs/benchmarks.md`` from the JSON files again.
"""

from __future__ import annotations

import datetime
import gc
import importlib.metadata
import json
import os
import platform
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import perf_counter

DOCS = Path(__file__).parents[1] / "docs"


def interleaved(
    candidates: Mapping[str, Callable[[], object]],
    rounds: int = 15,
    warmup: int = 2,
    synchronize: Callable[[], object] | None = None,
    least: float = 0.0,
) -> dict[str, list[float]]:
    """Seconds of each call, every candidate once a round, each round starting with another one.

    Parameters
    ----------
    least : float
        Seconds that a candidate has in a round: a call that takes less is repeated.
    synchronize : callable, optional
        Called before and after each timed call, such as ``torch.cuda.synchronize``.
    """
    wait = synchronize or (lambda: None)
    names = list(candidates)
    seconds = {name: [] for name in names}
    for round_ in range(-warmup, rounds):
        shift = round_ % len(names)
        for name in names[shift:] + names[:shift]:
            gc.collect()
            gc.disable()
            try:
                wait()
                start, elapsed, calls = perf_counter(), 0.0, 0
                while not calls or elapsed < least:
                    candidates[name]()
                    wait()
                    calls, elapsed = calls + 1, perf_counter() - start
            finally:
                gc.enable()
            if round_ >= 0:
                seconds[name].append(elapsed / calls)
    return seconds


def time(seconds: Sequence[float]) -> dict:
    """A cell with the median and the middle half of these times."""
    low, median, high = _quartiles(seconds)
    return {"seconds": median, "low": low, "high": high, "runs": len(seconds)}


def ratio(seconds: Sequence[float], reference: Sequence[float]) -> dict:
    """A cell with how many times ``reference`` these times are, round by round."""
    low, median, high = _quartiles([a / b for a, b in zip(seconds, reference, strict=True)])
    return {"times": median, "low": low, "high": high}


def save(
    name: str,
    *,
    title: str,
    question: str,
    columns: Sequence[str],
    rows: Sequence[Sequence],
    packages: Sequence[str] = ("torch",),
    notes: Sequence[str] = (),
    docs: Path = DOCS,
    quiet: bool = False,
) -> None:
    """Write ``docs/benchmarks/<name>.json``, make the page again and print the new section.

    Parameters
    ----------
    rows : sequence
        Cells are strings, ints, floats, or what `time` and `ratio` return.
    packages : sequence of str
        Distributions whose versions belong to the figures.
    notes : sequence of str
        Sentences below the table: what is counted, what is unverified.
    quiet : bool
        Do not print the section.
    """
    record = {
        "name": name,
        "title": title,
        "question": question,
        "columns": list(columns),
        "rows": [list(row) for row in rows],
        "notes": list(notes),
        "machine": _machine(),
        "versions": {"python": platform.python_version()}
        | {package: _version(package) for package in packages},
        "date": datetime.date.today().isoformat(),
    }
    path = docs / "benchmarks" / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    write_page(docs)
    if not quiet:
        print(section(record))


def write_page(docs: Path = DOCS) -> None:
    """Make ``docs/benchmarks.md`` from the JSON files."""
    (docs / "benchmarks.md").write_text(page(docs), encoding="utf-8")


def page(docs: Path = DOCS) -> str:
    """The text of ``docs/benchmarks.md``."""
    records = [
        json.loads(path.read_text(encoding="utf-8"))
        for path in sorted((docs / "benchmarks").glob("*.json"))
    ]
    head = (
        "# Benchmarks\n\n"
        "Each table comes from one run in which all candidates took turns; times are medians, "
        "with the middle half of the runs in brackets. The figures are in `docs/benchmarks/`, "
        "the scripts in `benchmarks/`; `python -m benchmarks._report` makes this page."
    )
    return "\n".join([head, *map(section, records)])


def section(record: Mapping) -> str:
    """One benchmark as markdown."""
    cells = [[_show(cell) for cell in row] for row in record["rows"]]
    numeric = [
        all(not isinstance(row[i], str) for row in record["rows"])
        for i in range(len(record["columns"]))
    ]
    lines = [
        f"\n## {record['title']}\n",
        f"{record['question']}\n",
        "| " + " | ".join(record["columns"]) + " |",
        "|" + "|".join("--:" if right else ":--" for right in numeric) + "|",
        *("| " + " | ".join(row) + " |" for row in cells),
    ]
    machine = record["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores"
    if machine["gpu"]:
        where += f", {machine['gpu']}"
    if machine.get("driver"):
        where += f" (driver {machine['driver']})"
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines += ["", *(f"{note}\n" for note in record["notes"])]
    return "\n".join([*lines, f"*{record['date']}; {where}; {versions}.*\n"])


def _show(cell) -> str:
    if isinstance(cell, Mapping) and "seconds" in cell:
        unit, scale = next(
            (unit, scale)
            for unit, scale in (("s", 1), ("ms", 1e3), ("µs", 1e6), ("ns", 1e9))
            if cell["seconds"] * scale >= 1 or unit == "ns"
        )
        median, low, high = (_digits(cell[key] * scale) for key in ("seconds", "low", "high"))
        return f"{median} {unit} ({low} to {high})"
    if isinstance(cell, Mapping):
        return f"{_digits(cell['times'])}× ({_digits(cell['low'])} to {_digits(cell['high'])})"
    if isinstance(cell, int):
        return f"{cell:,}"
    if isinstance(cell, float):
        return _digits(cell)
    return str(cell)


def _digits(value: float) -> str:
    """Three significant digits, never an exponent."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:#.3g}"


def _quartiles(values: Sequence[float]) -> tuple[float, float, float]:
    if len(values) == 1:
        return (values[0],) * 3
    return tuple(statistics.quantiles(values, n=4, method="inclusive"))


def _machine() -> dict:
    processor = platform.processor() or platform.machine()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                processor = line.split(":", 1)[1].strip()
                break
    torch = sys.modules.get("torch")
    machine = {"processor": processor, "cores": os.cpu_count(), "gpu": None}
    if torch and torch.cuda.is_available():
        machine |= {"gpu": torch.cuda.get_device_name(), "driver": _driver()}
    return machine


def _driver() -> str:
    """The version of NVIDIA's driver, as ``nvidia-smi`` tells it."""
    ask = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        told = subprocess.run(ask, capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return told.split()[0] if told.split() else "unknown"


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "none"


if __name__ == "__main__":
    write_page()
