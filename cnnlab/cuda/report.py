# ruff: noqa: E501 (one sentence a line)
"""What a checked run found: as records, in a terminal, and as HTML in a notebook."""

import json
from dataclasses import dataclass, field, replace
from itertools import groupby

__all__ = ["CAUSES", "Array", "Counter", "Finding", "Report"]

# Kind: what it is called, and the usual cause in one sentence.
CAUSES = {
    "forbidden": ("forbidden", "A kernel may only compute: it reads and writes the arrays it was given."),
    "crash": ("crash", "A pointer or an index went far astray."),
    "null-pointer": ("null pointer", "A pointer argument was null, or a pointer was never set."),
    "wild-pointer": ("wild pointer", "The address lies in none of the kernel's arrays: a pointer was overwritten or never set."),
    "misaligned": ("misaligned access", "A float4 (float2) access needs an address that is a multiple of 16 (8) bytes: a row whose width is no multiple of 4 breaks it."),
    "stack-overflow": ("stack overflow", "Local arrays or a recursion need more than the 512 KB of local memory that a thread has."),
    "division-by-zero": ("division by zero", "An integer was divided by zero; a GPU gives an arbitrary number and goes on."),
    "infinite-loop": ("infinite loop", "A loop never ends: its condition does not change, or it waits for a thread that cannot come."),
    "trap": ("trap", "The kernel stopped itself."),
    "deadlock": ("deadlock", "Some threads wait for others that wait elsewhere: a warp operation inside a branch that only a part of its mask takes."),
    "divergent-barrier": ("divergent barrier", "__syncthreads() must be reached by all threads of the block, the same one: move it out of the if, and return early only after the last barrier."),
    "divergent-warp": ("divergent warp operation", "Every lane named in the mask must execute the operation: leave the branch first, or name only the lanes inside."),
    "warp-mask": ("wrong warp mask", "A thread must name itself in the mask it passes."),
    "inactive-lane": ("shuffle from an inactive lane", "The lane that is read does not take part (it left, does not exist, or is not in the mask), so the value is undefined."),
    "out-of-bounds": ("out of bounds", "A guard is missing or off by one: compare row and column with the array's sizes before the access."),
    "constant-store": ("store to constant memory", "__constant__ memory is written from the host, between launches; a kernel can only read it."),
    "shared-race": ("race in shared memory", "A __syncthreads() is missing between one thread's access and another's."),
    "global-race": ("race in global memory", "Blocks run in any order: read from one array and write to another, or use atomics."),
    "double-write": ("written by several threads", "Two threads compute the same output: look at how row and column follow from blockIdx and threadIdx, or use atomicAdd."),
    "uninitialised": ("read before any write", "Nobody has written this element yet: a part of the tile is never loaded, a barrier is missing, or a sum does not start from zero."),
    "unwritten": ("never written", "The grid does not cover the output, or a guard turns too many threads away."),
}  # fmt: skip
_ORDER = {kind: i for i, kind in enumerate(CAUSES)}


@dataclass(frozen=True)
class Array:
    """One array that the kernel used. Loads and stores count accesses, a float4 as one."""

    name: str
    space: str
    bytes: int
    shape: tuple[int, ...] | None
    itemsize: int | None
    argument: bool
    loads: int
    stores: int
    load_bytes: int
    store_bytes: int


@dataclass(frozen=True)
class Counter:
    """The warp requests that one instruction made to one array, in the sampled blocks.

    ``units`` are 32-byte sectors (global), passes through the banks (shared) or different words
    (constant); ``least`` is the fewest that could have served the same requests.
    """

    array: Array
    write: bool
    address: int
    requests: int
    lanes: int
    units: int
    least: int


@dataclass(frozen=True)
class Finding:
    """One mistake: where, which thread first, how often."""

    kind: str
    line: int | None = None
    array: Array | None = None
    offset: int | None = None
    size: int = 0
    write: bool = False
    block: tuple[int, int, int] | None = None
    thread: tuple[int, int, int] | None = None
    other_block: tuple[int, int, int] | None = None
    other_thread: tuple[int, int, int] | None = None
    other_line: int | None = None
    count: int = 1
    total: int | None = None
    runs: tuple[tuple[int, int], ...] = ()
    cell: int = 1
    threads: tuple[int, ...] = ()
    block_shape: tuple[int, int, int] = (1, 1, 1)
    detail: str = ""
    raw: str = ""
    source: str = field(default="", repr=False)

    @property
    def title(self) -> str:
        return CAUSES[self.kind][0]

    @property
    def cause(self) -> str:
        """The usual cause, in one sentence."""
        return CAUSES[self.kind][1]

    @property
    def source_line(self) -> str:
        rows = self.source.splitlines()
        return rows[self.line - 1].strip() if self.line and self.line <= len(rows) else ""

    @property
    def element(self) -> int | None:
        """The element's number in its array (flat, negative before its start)."""
        if self.kind == "unwritten" and self.runs:
            return self.runs[0][0] * self.cell // (self.array.itemsize or self.cell)
        if self.array is None or self.offset is None:
            return None
        return self.offset // (self.array.itemsize or self.size or 1)

    @property
    def index(self) -> tuple[int, ...] | None:
        """The element as (..., row, column) of its array, rows counted on past the end."""
        shape = self.array.shape if self.array else None
        if self.element is None or not shape or len(shape) < 2 or 0 in shape:
            return None
        left, index = self.element, []
        for size in reversed(shape[1:]):
            left, part = divmod(left, size)
            index.append(part)
        return (left, *reversed(index))

    @property
    def place(self) -> str:
        """The element in words, such as ``in[4900] (row 70, column 0 of 70×70)``."""
        if self.array is None or self.element is None:
            return ""
        text = f"{self.array.name.replace('=', ' = ')}[{self.element}]"
        if self.index and len(self.index) == 2:
            rows, columns = self.array.shape
            return f"{text} (row {self.index[0]}, column {self.index[1]} of {rows}×{columns})"
        if self.index:
            shape = "×".join(map(str, self.array.shape))
            return f"{text} (index {', '.join(map(str, self.index))} of {shape})"
        return text

    @property
    def message(self) -> str:
        """What happened, in one sentence."""
        did = "write" if self.write else "read"
        who = f"block {_xyz(self.block)} thread {_xyz(self.thread)}" if self.block else "the kernel"
        if self.kind == "out-of-bounds":
            if self.raw == "index":
                return f"{who}: index {self.offset} is outside {self.detail}"
            last = self.array.bytes // (self.array.itemsize or self.size or 1) - 1
            valid = f"valid: 0..{last}" if last >= 0 else "the array is empty"
            wrapped = ", an unsigned index that went below zero" if self.detail == "wrapped" else ""
            return f"{who}: {did} out of bounds: {self.place}{wrapped}, {valid}"
        if self.kind in ("shared-race", "global-race", "double-write"):
            where = f" (line {self.other_line})" if self.other_line else ""
            other = f"block {_xyz(self.other_block)} thread {_xyz(self.other_thread)}"
            if self.other_block == self.block:
                other = f"thread {_xyz(self.other_thread)}"
            return (
                f"{who} {did}s {self.place}, which {other} {self.detail}s{where}, "
                f"and nothing orders the two"
            )
        if self.raw == "local":
            return f"the variable {self.detail} is read before it has a value"
        if self.kind == "uninitialised":
            return f"{who} reads {self.place}, which holds no value yet"
        if self.kind == "unwritten":
            return f"{self.count} of {self.total} elements of {self.array.name} are never written, first {self.place}"
        if self.kind == "misaligned":
            return f"{who}: {did} of {self.size} bytes at byte {self.offset} of {self.array.name}, no multiple of {self.size}"
        if self.kind in ("divergent-barrier", "deadlock"):
            return (
                f"block {_xyz(self.block)}: of {_threads(self.block_shape)} threads, {self.detail}"
            )
        if self.kind == "divergent-warp":
            return f"{who} calls {self.detail}, but lanes {_lanes(self.offset)} of its mask have left without taking part"
        if self.kind == "warp-mask":
            return f"{who} calls {self.detail} with mask 0x{self.offset & 0xFFFFFFFF:08x}, which leaves itself out"
        if self.kind == "inactive-lane":
            return f"{who}: {self.detail} reads lane {self.offset}, which does not take part"
        if self.kind == "constant-store":
            return f"{who} writes {self.place}, a __constant__ array"
        if self.kind == "trap":
            return f"{who}: {self.detail}"
        if self.raw == "failure":
            return self.detail
        return f"{who}: {self.title}"

    def as_dict(self) -> dict:
        """The finding as plain data."""
        return {
            "kind": self.kind,
            "line": self.line,
            "source": self.source_line,
            "message": self.message,
            "cause": self.cause,
            "array": self.array.name if self.array else None,
            "element": self.element,
            "index": self.index,
            "block": self.block,
            "thread": self.thread,
            "other": {
                "block": self.other_block,
                "thread": self.other_thread,
                "line": self.other_line,
            }
            if self.other_block
            else None,
            "count": self.count,
        }


def _xyz(index) -> str:
    return f"({', '.join(map(str, index))})"


def _threads(shape) -> int:
    return shape[0] * shape[1] * shape[2]


def _lanes(mask: int) -> str:
    lanes, text = [i for i in range(32) if mask >> i & 1], []
    for lane in lanes:
        if text and text[-1][1] == lane - 1:
            text[-1][1] = lane
        else:
            text.append([lane, lane])
    return ", ".join(f"{a}..{b}" if b > a else str(a) for a, b in text)


def merge(findings: list[Finding]) -> list[Finding]:
    """One finding for each mistake: the same kind, array and line, worst first."""
    named = {f.line for f in findings if f.raw == "index"}
    groups: dict[tuple, Finding] = {}
    for f in findings:
        if f.kind == "out-of-bounds" and f.raw != "index" and f.line in named:
            continue  # the index itself was found already, with its array's type
        ends = frozenset((f.line, f.other_line)) if f.other_block else f.line
        key = (f.kind, f.array.name if f.array else f.detail if f.raw == "index" else None, ends)
        if f.kind not in ("shared-race", "global-race", "double-write"):
            key += (f.write,)
        if first := groups.get(key):
            together = (
                tuple(sorted({*first.threads, *f.threads}))
                if f.block == first.block
                else first.threads
            )
            groups[key] = replace(first, count=first.count + f.count, threads=together)
        else:
            groups[key] = f
    return sorted(groups.values(), key=lambda f: (_ORDER[f.kind], f.line or 0))


@dataclass
class Report:
    """The outcome of one launch.

    Attributes
    ----------
    findings : mistakes, the gravest first; empty for a correct kernel
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

    def _ratio(self, space: str, write: bool | None, array: str | None, per: str) -> float:
        chosen = [
            c for c in self.counters
            if c.array.space == space and write in (None, c.write) and array in (None, c.array.name)
        ]  # fmt: skip
        return sum(c.units for c in chosen) / max(sum(getattr(c, per) for c in chosen), 1)

    def sectors_per_request(self, write: bool | None = None, array: str | None = None) -> float:
        """32-byte sectors that a warp's global access touches: 4 for 32 floats in a row."""
        return self._ratio("global", write, array, "requests")

    def bank_conflict(self, write: bool | None = None, array: str | None = None) -> float:
        """Passes through the shared memory's banks, against the fewest possible: 1 is none."""
        return self._ratio("shared", write, array, "least")

    def constant_words(self, array: str | None = None) -> float:
        """Different constant words that a warp reads at once: 1 is a broadcast."""
        return self._ratio("constant", None, array, "requests")

    def raise_for_findings(self) -> "Report":
        """Raise a RuntimeError with the text of the report unless it is clean."""
        if not self.ok:
            raise RuntimeError(str(self))
        return self

    def as_dict(self) -> dict:
        """Everything as plain data, for `json` and for graders."""
        return {
            "kernel": self.kernel,
            "device": self.device,
            "grid": self.grid,
            "block": self.block,
            "finished": self.finished,
            "milliseconds": self.milliseconds,
            "findings": [f.as_dict() for f in self.findings],
            "counters": self._table(),
            "printed": self.printed,
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
        rows["barriers per block"] = round(self.barriers / _threads(self.grid), 2)
        return rows

    @property
    def _head(self) -> str:
        grid, block = ("×".join(map(str, s)) for s in (self.grid, self.block))
        time = f", {self.milliseconds:.3g} ms" if self.milliseconds is not None else ""
        return f"{self.kernel}, grid {grid}, block {block}, {self.device}{time}"

    @property
    def _verdict(self) -> str:
        if self.ok:
            return "no findings"
        return f"{len(self.findings)} finding{'s' * (len(self.findings) != 1)}"

    def __str__(self) -> str:
        rows = [f"{self._head}: {self._verdict}"]
        for f in self.findings:
            line = f"kernel.cu:{f.line}: " if f.line else ""
            rows.append(f"\n{line}{f.title}{f' ({f.count} times)' if f.count > 1 else ''}")
            if f.source_line:
                rows.append(f"    {f.source_line}")
            rows += [f"  {f.message}", f"  {f.cause}"]
            rows += [f"  {row}" for row in _block_text(f)]
        if table := self._table():
            width = max(map(len, table))
            rows += ["", *(f"  {name:<{width}}  {value:g}" for name, value in table.items())]
        if self.nvidia is not None:
            rows += ["", f"  {self.nvidia}"]
        if self.printed:
            rows += ["", "printf:", self.printed.rstrip("\n")[:4000]]
        return "\n".join(rows)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        from cnnlab.cuda.html import report_html

        return report_html(self)


def _block_text(f: Finding, widest: int = 64) -> list[str]:
    """The offending threads on the block, one character a thread, where that says something."""
    width, height, depth = f.block_shape
    if (
        not f.threads
        or f.kind == "unwritten"
        or depth > 1
        or width > widest
        or height > 32
        or width * height < 2
    ):
        return []
    marked = set(f.threads)
    rows = [
        "".join("#" if y * width + x in marked else "." for x in range(width))
        for y in range(height)
    ]
    folded = [
        f"  {row}{f'  ×{n}' if (n := len(list(same))) > 1 else ''}" for row, same in groupby(rows)
    ]
    return [f"threads of block {_xyz(f.block)} (# offends):", *folded]
