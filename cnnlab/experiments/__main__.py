"""``python -m cnnlab.experiments``: all experiments on many seeds, into ``measured.csv``."""

import argparse
import csv
import time
from pathlib import Path

import torch

from cnnlab.experiments.catalogue import EXPERIMENTS, Bench
from cnnlab.experiments.outcome import TABLE, run


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", default=list(EXPERIMENTS), help="default: all")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    small, path = Bench(torch.device("cpu"), 1), Path(str(TABLE))
    rows = {}
    if path.exists():
        with path.open(encoding="utf-8", newline="") as file:
            rows = {(row["experiment"], row["variant"]): row for row in csv.DictReader(file)}
    for name in options.names:
        start = time.process_time()
        outcomes = [run(name, seed, small).values for seed in range(options.seeds)]
        seconds = (time.process_time() - start) / options.seeds
        rows = {key: row for key, row in rows.items() if key[0] != name}
        for variant in outcomes[0]:
            rows[name, variant] = {
                "experiment": name,
                "variant": variant,
                "measure": EXPERIMENTS[name].measure,
                "values": " ".join(f"{outcome[variant]:.6g}" for outcome in outcomes),
            }
        print(f"{name}: {seconds:.1f} s of processor time a seed", flush=True)
        order = list(EXPERIMENTS)
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(
                file, ["experiment", "variant", "measure", "values"], lineterminator="\n"
            )
            writer.writeheader()
            writer.writerows(sorted(rows.values(), key=lambda row: order.index(row["experiment"])))


if __name__ == "__main__":
    main()
