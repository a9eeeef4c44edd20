"""``python -m cnnlab.experiments``: experiments on many seeds, into ``measured.csv`` and a page."""

import argparse
import csv
import time
from pathlib import Path

import torch

from cnnlab.experiments.catalogue import EXPERIMENTS, Bench
from cnnlab.experiments.outcome import TABLE, markdown, run

PAGE = Path(__file__).parents[2] / "docs" / "experiments.md"
COLUMNS = ["experiment", "variant", "measure", "values"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="default: all")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--page", action="store_true", help="run nothing, write the page only")
    options = parser.parse_args()
    for name in [] if options.page else options.names or EXPERIMENTS:
        measure(name, options.seeds)
    PAGE.write_text(markdown(), encoding="utf-8")


def measure(name: str, seeds: int) -> None:
    """Run one experiment on so many seeds, and put its rows in the place of the old ones."""
    start = time.process_time()
    small = Bench(torch.device("cpu"), 1)
    outcomes = [run(name, seed, small).values for seed in range(seeds)]
    seconds = (time.process_time() - start) / seeds
    print(f"{name}: {seconds:.1f} s of processor time a seed", flush=True)
    path, rows = Path(str(TABLE)), []
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = [row for row in csv.DictReader(file) if row["experiment"] != name]
    for variant in outcomes[0]:
        values = " ".join(f"{outcome[variant]:.6g}" for outcome in outcomes)
        cells = name, variant, EXPERIMENTS[name].measure, values
        rows.append(dict(zip(COLUMNS, cells, strict=True)))
    order = list(EXPERIMENTS)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(sorted(rows, key=lambda row: order.index(row["experiment"])))


if __name__ == "__main__":
    main()
