"""What a launch came to: as records, in a terminal, and as HTML in a notebook."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import groupby
from math import prod

from cnnlab.simulator.findings import Array, Counter, Finding

__all__ = ["Array", "Counter", "Finding", "Report"]

SHOWN = 5  # findings of a report in full; the others in a line


@dataclass
class Report:
    """The outcome of one launch.

    Attributes
    ----------
    findings : mistakes, the gravest first; empty for a correct kernel
    notes : what is no mistake, and yet worth a look
    arrays : every array with its loads and stores over the whole grid
    counters : warp requests of a few sampled blocks, by instruction
    milliseconds : the kernel's own time
    printed : what the kernel printed
    finished : whether the launch ran to its end
    nvidia : what NVIDIA's compiler said (registers, shared bytes, spills), where it is installed
    """

    kernel: str
    device: str
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    findings: list[Finding] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    arrays: list[Array] = field(default_factory=list)
    counters: list[Counter] = field(default_factory=list)
    barriers: int = 0
    milliseconds: float | None = None
    printed: str = ""
    finished: bool = True
    nvidia: object = None

    @property
    def ok(self) -> bool:
        """Whether the launch finished and nothing was found."""
        return self.finished and not self.findings

    @property
    def kinds(self) -> set[str]:
        return {f.kind for f in self.findings}

    @property
    def outputs(self) -> int:
        """Elements of the argument tensors that the kernel writes to."""
        return sum(
            a.bytes // a.itemsize for a in self.arrays if a.argument and a.stores and a.itemsize
        )

    def count(self, space: str, what: str = "loads", array: str | None = None) -> int:
        """Loads or stores over the whole grid, in ``"global"``, ``"shared"`` or ``"constant"``."""
        if what not in ("loads", "stores"):
            raise ValueError(f"what is counted is 'loads' or 'stores', not {what!r}")
        chosen = [a for a in self.arrays if a.space == space and array in (None, a.name)]
        return sum(getattr(a, what) for a in chosen)

    def per_output(self, space: str, what: str = "loads", array: str | None = None) -> float:
        """`count` divided by the number of output elements."""
        return self.count(space, what, array) / max(self.outputs, 1)

    def _ratio(self, space: str, array: str | None, per: str) -> float:
        chosen = [c for c in self.counters if c.array.space == space]
        chosen = [c for c in chosen if array in (None, c.array.name)]
        return sum(c.units for c in chosen) / max(sum(getattr(c, per) for c in chosen), 1)

    def sectors_per_request(self, array: str | None = None) -> float:
        """32-byte sectors that a warp's global access touches: 4 for 32 floats in a row."""
        return self._ratio("global", array, "requests")

    def bank_conflict(self, array: str | None = None) -> float:
        """Passes through the shared memory's banks, against the fewest possible: 1 is none."""
        return self._ratio("shared", array, "least")

    def constant_words(self, array: str | None = None) -> float:
        """Different constant words that a warp reads at once: 1 is a broadcast."""
        return self._ratio("constant", array, "requests")

    def raise_for_findings(self) -> "Report":
        """Raise a RuntimeError with the text of the report unless it is clean."""
        if not self.ok:
            raise RuntimeError(str(self))
        return self

    def as_dict(self) -> dict:
        """Everything as plain data, for `json` and for graders."""
        own = ("kernel", "device", "grid", "block", "finished", "milliseconds", "notes", "printed")
        return {what: getattr(self, what) for what in own} | {
            "findings": [f.as_dict() for f in self.findings],
            "counters": self._table(),
        }

    def to_json(self) -> str:
        return json.dumps(self.as_dict())

    def _table(self) -> dict[str, float]:
        if not self.counters:
            return {}
        rows = {}
        for space in ("global", "shared", "constant"):
            for what in ("loads", "stores"):
                if total := self.count(space, what):
                    rows[f"{space} {what} per output"] = round(total / max(self.outputs, 1), 3)
        rows["sectors per global request"] = round(self.sectors_per_request(), 2)
        if self.count("shared", "loads"):
            rows["shared bank conflict (1 is none)"] = round(self.bank_conflict(), 2)
        if self.count("constant"):
            rows["constant words per request (1 is a broadcast)"] = round(self.constant_words(), 2)
        rows["barriers per block"] = round(self.barriers / prod(self.grid), 2)
        return rows

    @property
    def head(self) -> str:
        grid, block = ("×".join(map(str, s)) for s in (self.grid, self.block))
        time = f", {self.milliseconds:.3g} ms" if self.milliseconds is not None else ""
        return f"{self.kernel}, grid {grid}, block {block}, {self.device}{time}"

    @property
    def verdict(self) -> str:
        count = len(self.findings)
        return "no findings" if self.ok else f"{count} finding{'s' * (count != 1)}"

    def parts(self) -> Iterator[tuple[str, object]]:
        """What follows the head, by kind and in order: the same in a terminal and as HTML."""
        yield from (("finding", f) for f in self.findings[:SHOWN])
        if rest := self.findings[SHOWN:]:
            titles = ", ".join(dict.fromkeys(f.title for f in rest))
            yield "rest", f"... and {len(rest)} more ({titles}); mend the first ones first"
        yield from (("note", f"Note: {note}") for note in self.notes)
        if table := self._table():
            yield "table", {name: f"{value:g}" for name, value in table.items()}
        if self.nvidia is not None:
            yield "nvidia", str(self.nvidia)
        if self.printed:
            yield "printed", self.printed.rstrip("\n")[:4000]

    def __str__(self) -> str:
        show = {
            "finding": _finding_text,
            "rest": lambda text: ["", text],
            "note": lambda text: [f"  {text}"],
            "table": lambda t: ["", *(f"  {k:<{max(map(len, t))}}  {v}" for k, v in t.items())],
            "nvidia": lambda text: ["", f"  {text}"],
            "printed": lambda text: ["", "printf:", text],
        }
        rows = [row for kind, what in self.parts() for row in show[kind](what)]
        return "\n".join([f"{self.head}: {self.verdict}", *rows])

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from cnnlab.simulator.html import report_html

        return report_html(self)


def _finding_text(f: Finding) -> list[str]:
    where = f"kernel.cu:{f.line}: " if f.line else ""
    rows = [f"\n{where}{f.title}{f' ({f.count} times)' if f.count > 1 else ''}"]
    rows += [f"    {f.source_line}"] if f.source_line else []
    rows += [f"  {f.message}", f"  {f.cause}"]
    if f.also:
        pairs = [f"lines {a} and {b}" if a != b else f"threads in line {a}" for a, b in f.also]
        rows.append(f"  Also between {', '.join(pairs[:6])}.")
    return rows + [f"  {row}" for row in _block_text(f)]


def _block_text(f: Finding) -> list[str]:
    """The offending threads on the block, one character a thread, where that says something."""
    rows = f.plane()
    if not rows or f.block_shape[2] > 1 or len(rows[0]) > 64 or len(rows) > 32:
        return []
    text = ["".join("#" if mark else "." for mark in row) for row in rows]
    folded = [
        f"  {row}{f'  ×{n}' if (n := len(list(same))) > 1 else ''}" for row, same in groupby(text)
    ]
    return [f"threads of block {f.block} (# offends):", *folded]
