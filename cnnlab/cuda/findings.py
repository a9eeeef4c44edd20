# ruff: noqa: E501 (one sentence a line)
"""One mistake of a kernel: where, which threads, what happened, and what follows from the evidence."""

import re
from dataclasses import dataclass, field, replace
from math import prod

__all__ = ["CAUSES", "Array", "Counter", "Finding", "merge"]

# Kind: what it is called, and the usual cause, for the kinds where no more is known. Gravest first.
CAUSES = {
    "forbidden": ("forbidden", "A kernel may only compute: it reads and writes the arrays it was given."),
    "crash": ("crash", "A pointer or an index went far astray."),
    "null-pointer": ("null pointer", "A pointer argument was null, a pointer was never set, or a function returned the address of its own local variable."),
    "wild-pointer": ("wild pointer", "The address lies in none of the kernel's arrays: a pointer was overwritten or never set."),
    "misaligned": ("misaligned access", "A float4 (float2) access needs an address that is a multiple of 16 (8) bytes: a row whose width is no multiple of 4 breaks it."),
    "stack-overflow": ("stack overflow", "Local arrays or a recursion need more than the 512 KB of local memory that a thread has."),
    "division-by-zero": ("division by zero", "An integer was divided by zero; a GPU gives an arbitrary number and goes on."),
    "infinite-loop": ("infinite loop", "A loop never ends: its condition does not change, or it waits for a thread that cannot come. If it is only long: mode='fast', or a larger timeout."),
    "trap": ("trap", "The kernel stopped itself."),
    "warp-mask": ("wrong warp mask", "A thread must name itself in the mask it passes."),
    "deadlock": ("deadlock", "Some threads wait for others that wait elsewhere: a warp operation inside a branch that only a part of its mask takes."),
    "divergent-barrier": ("divergent barrier", "__syncthreads() must be reached by all threads of the block, the same one: move it out of the if, and return early only after the last barrier."),
    "divergent-warp": ("divergent warp operation", "Every lane named in the mask must execute the operation: leave the branch first, or name only the lanes inside."),
    "inactive-lane": ("shuffle from an inactive lane", "The lane that is read does not take part (it left, does not exist, or is not in the mask), so the value is undefined."),
    "out-of-bounds": ("out of bounds", ""),
    "constant-store": ("store to constant memory", "__constant__ memory is written from the host, between launches; a kernel can only read it."),
    "shared-race": ("race in shared memory", ""),
    "global-race": ("race in global memory", ""),
    "double-write": ("written by several threads", ""),
    "uninitialised": ("read before any write", ""),
    "unwritten": ("never written", ""),
}  # fmt: skip
TITLES = {kind: title for kind, (title, _) in CAUSES.items()} | {"timeout": "stopped for its time"}
_ORDER = {kind: i for i, kind in enumerate(TITLES)}
SHOWN = 5  # findings of a report in full; the others in a line
RACES = ("shared-race", "global-race", "double-write")
IN_WARP, IN_BLOCK, BETWEEN_BLOCKS, SAME_VALUE, ANOTHER_VALUE, TWO_WRITES = 1, 2, 4, 8, 16, 32
SEEN_IN = IN_WARP | IN_BLOCK | BETWEEN_BLOCKS
UNFENCED = 64  # an atomic lies between the two, but no __threadfence() before it


@dataclass(frozen=True)
class Array:
    """One array that the kernel used. Loads and stores count accesses, a float4 as one."""

    name: str
    space: str
    bytes: int
    shape: tuple[int, ...] | None
    itemsize: int | None
    argument: bool
    loads: int = 0
    stores: int = 0


@dataclass(frozen=True)
class Counter:
    """The warp requests that one instruction made to one array, in the sampled blocks.

    ``units`` are 32-byte sectors (global), passes through the banks (shared) or different words
    (constant); ``least`` is the fewest that could have served the same requests.
    """

    array: Array
    requests: int
    units: int
    least: int


@dataclass(frozen=True)
class Finding:
    """One mistake: where, which thread first, how often.

    ``wrong_index`` is the element as the source writes it, where one of its indices is outside;
    ``reach`` (bits) says between which threads a race was seen, and with which values; ``also``
    are further pairs of lines of the same race.
    """

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
    launched: int = 0
    detail: str = ""
    raw: str = ""
    wrong_index: tuple[int, ...] | None = None
    reach: int = 0
    also: tuple[tuple[int, int], ...] = ()
    source: str = field(default="", repr=False)

    @property
    def title(self) -> str:
        return TITLES[self.kind]

    @property
    def cause(self) -> str:
        """What this evidence says about the cause, in a sentence or two."""
        how = {"out-of-bounds": _outside, "uninitialised": _unset, "unwritten": _unwritten}
        how |= dict.fromkeys(RACES, _race)
        if self.kind == "timeout":
            return "The kernel was getting on, so this is no endless loop: take a smaller input, mode='fast', or a larger timeout."
        return how[self.kind](self) if self.kind in how else CAUSES[self.kind][1]

    @property
    def source_line(self) -> str:
        return self._row(self.line)

    def _row(self, line: int | None) -> str:
        rows = self.source.splitlines()
        return rows[line - 1].strip() if line and line <= len(rows) else ""

    @property
    def local(self) -> bool:
        """Whether it is about an array that each thread has for itself."""
        return self.detail == "local" or (self.array is not None and self.array.space == "local")

    @property
    def same_value(self) -> bool:
        """Whether the threads that wrote one element all wrote the same value."""
        return self.reach & (SAME_VALUE | ANOTHER_VALUE) == SAME_VALUE

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
        if self.wrong_index:
            return self.wrong_index
        shape = self.array.shape if self.array else None
        if self.element is None or not shape or len(shape) < 2 or 0 in shape or self.element < 0:
            return None
        left, index = self.element, []
        for size in reversed(shape[1:]):
            left, part = divmod(left, size)
            index.append(part)
        return (left, *reversed(index))

    @property
    def place(self) -> str:
        """The element in words, such as ``in[4900] (row 70, column 0 of 70×70)``."""
        if self.array is None or (self.element is None and not self.wrong_index):
            return ""
        name = self.array.name.replace("=", " = ")
        if self.wrong_index:
            return name + "".join(f"[{i}]" for i in self.wrong_index)
        last = self.element + self.size // (self.array.itemsize or self.size or 1) - 1
        text = (
            f"{name}[{self.element}]" if last <= self.element else f"{name}[{self.element}..{last}]"
        )
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
        who = f"block {xyz(self.block)} thread {xyz(self.thread)}" if self.block else "the kernel"
        if self.kind == "out-of-bounds":
            if self.detail == "far":
                return f"{who}: {did} out of bounds, far outside every array"
            if self.detail == "local":
                return f"{who} writes past the end of one of its local arrays"
            if self.raw == "index" and not self.wrong_index:
                of = f" of {self.array.name}" if self.array else ""
                return f"{who}: index {self.detail.replace(' of ', ' is outside ', 1)}{of}"
            if self.wrong_index:
                valid = " and ".join(
                    f"{n} 0..{s - 1}"
                    for n, s in zip(_axes(self.array.shape), self.array.shape, strict=True)
                )
                at = ", ".join(
                    f"{n} {i}"
                    for n, i in zip(_axes(self.array.shape), self.wrong_index, strict=True)
                )
                did = did if not self.local else "access"
                return f"{who}: {did} out of bounds: {self.place} ({at}), {self.array.name} has {valid}"
            last = self.array.bytes // (self.array.itemsize or self.size or 1) - 1
            valid = f"valid: 0..{last}" if last >= 0 else "the array is empty"
            wrapped = ", an unsigned index that went below zero" if self.detail == "wrapped" else ""
            return f"{who}: {did} out of bounds: {self.place}{wrapped}, {valid}"
        if self.kind in RACES:
            where = f" (line {self.other_line})" if self.other_line else ""
            other = f"block {xyz(self.other_block)} thread {xyz(self.other_thread)}"
            if self.other_block == self.block:
                other = f"thread {xyz(self.other_thread)}"
            same = ", with the same value" if self.same_value else ""
            return f"{who} {did}s {self.place}, which {other} {self.detail}s{where}{same}, and nothing orders the two"
        if self.raw == "local":
            return f"{self.detail} is read before it has a value"
        if self.kind == "uninitialised":
            return f"{who} reads {self.place}, which holds no value yet"
        if self.kind == "unwritten":
            return f"{self.count} of {self.total} elements of {self.array.name} are never written, first {self.place}"
        if self.kind == "misaligned":
            return f"{who}: {did} of {self.size} bytes at byte {self.offset} of {self.array.name}, no multiple of {self.size}"
        if self.kind in ("divergent-barrier", "deadlock"):
            return f"block {xyz(self.block)}: of {prod(self.block_shape)} threads, {self.detail}"
        if self.kind == "divergent-warp":
            return f"{who} calls {self.detail}, but lanes {_lanes(self.offset)} of its mask have left without taking part"
        if self.kind == "warp-mask":
            return f"{who} calls {self.detail} with mask 0x{self.offset & 0xFFFFFFFF:08x}, which leaves itself out"
        if self.kind == "inactive-lane":
            return f"{who}: {self.detail} reads lane {self.offset}, which does not take part"
        if self.kind == "constant-store":
            return f"{who} writes {self.place}, a __constant__ array"
        if self.kind in ("trap", "infinite-loop", "timeout", "null-pointer"):
            return f"{who}: {self.detail}" if self.detail else f"{who}: {self.title}"
        if self.raw == "failure":
            return self.detail
        return f"{who}: {self.title}"

    def as_dict(self) -> dict:
        """The finding as plain data."""
        other = {"block": self.other_block, "thread": self.other_thread, "line": self.other_line}
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
            "other": other if self.other_block else None,
            "count": self.count,
        }


# ---- what the evidence says ---------------------------------------------------------------------


def _updates(f: Finding) -> bool:
    """Whether a line reads an element, changes it and writes it back, and that element only."""
    row = f.source_line
    name = re.escape(f.array.name) if f.array else ""
    if len(set(re.findall(rf"\b{name}\s*\[([^\]]*)\]", row))) > 1:
        return False
    if re.search(r"\+\+|--|(?:[-+*/%&|^]|<<|>>)=(?!=)", row):
        return True
    left, equals, right = row.partition("=")
    written = re.search(r"([\w.>*-]+(?:\s*\[[^=]*\])?)\s*$", left)
    return bool(equals and written and written[1].lstrip("*") in right.partition(";")[0])


def _race(f: Finding) -> str:
    name = f.array.name.split("=")[0] if f.array else "the element"
    one_line = f.other_line in (None, f.line)
    both_write = f.write and f.detail == "write"
    if one_line and f.reach & TWO_WRITES and _updates(f):
        return (
            f"Each of these threads reads {name}, changes it and writes it back; a change that came in between is lost, and no barrier helps. "
            "Use atomicAdd (atomicMax, ...), or let every thread sum up for itself and reduce the sums afterwards."
            + " Where a lock guards this line, it lacks its fences: __threadfence() behind the atomicCAS and before the atomicExch."
            * bool(f.reach & UNFENCED)
        )
    if f.reach & UNFENCED:
        return (
            "An atomic lies between the two, but atomics do not order other memory: put a __threadfence() behind the write, "
            "before the atomic that announces it, and one behind the atomic by which the reader learns of it."
        )
    if both_write and f.same_value:
        return f"They write the same value, so the result is right, but one of them would do: let one thread write it (if (threadIdx.x == 0)), or look at how {name}'s index follows from blockIdx and threadIdx."
    if f.reach & BETWEEN_BLOCKS:
        if both_write:
            return "Two threads compute the same output: look at how row and column follow from blockIdx and threadIdx, or use atomicAdd."
        return "Blocks run in any order, and __syncthreads() orders only the threads of one: read from one array and write to another, do the second step in a second launch, or use atomics."
    if both_write and one_line:
        return f"Several threads store different values in one element, and any of them may be the last: look at how {name}'s index follows from threadIdx."
    if one_line:
        where = f"between one round of the loop and the next (line {f.line}), or between the reading and the writing in it"
        where += "; or, where several threads may choose one element, an atomic (atomicCAS)" * (
            f.array is not None and f.array.space == "global"
        )
    else:
        where = f"between line {min(f.line or 0, f.other_line)} and line {max(f.line or 0, f.other_line)}"
    if f.reach & IN_BLOCK or prod(f.block_shape) <= 32:
        warp = (
            " (__syncwarp() does as well in a block of one warp)"
            if prod(f.block_shape) <= 32
            else ""
        )
        return f"A __syncthreads() is missing {where}{warp}."
    return f"A __syncwarp() is missing {where}: the threads of a warp do not run in step. (In a branch that only some warps take, __syncthreads() would be wrong.)"


def _axes(shape) -> tuple[str, ...]:
    if len(shape) == 1:
        return ("index",)
    return (*(f"index {i}" for i in range(len(shape) - 2)), "row", "column")


def _outside(f: Finding) -> str:
    if f.detail == "far":
        return "A product of indices may have left the range of int (compute it in size_t), or an index came out of memory and was never checked."
    if f.local:
        return "A local array belongs to one thread; behind it lie the thread's own variables, which are lost, on a GPU too. What went wrong after that is not shown."
    if f.detail == "wrapped":
        return "An unsigned number is never negative: 0u - 1 is 4,294,967,295, and the test >= 0 is always true. Compute the index as int (blockIdx and threadIdx are unsigned)."
    if f.raw == "index":
        below = f.wrong_index and min(f.wrong_index) < 0
        if below:
            return "An index below zero: shift it by the halo, or test it first."
        text = "The array is too small or the loop too long"
        if f.wrong_index and len(f.wrong_index) == 1:
            return f"{text}, or the index is not the one that is meant."
        return f"{text}; a tile with its halo has TILE + K - 1 rows and columns. The compiler does not stop at the end of a row: the access lands in the next one."
    if f.array and f.array.space == "shared" and f.raw != "index" and not f.array.shape:
        return (
            f"The launch gave {f.array.bytes} bytes of dynamic shared memory: set shared_bytes= (the third value in <<<...>>>) to what the "
            "kernel uses, or mend the index."
        )
    if f.array and not f.array.bytes:
        return "The tensor given has no elements."
    if f.element is not None and f.element < 0:
        return "The access is before the array's start: a test >= 0 is missing (r >= 0 && c >= 0), or the index is computed from too small a number."
    count = f.array.bytes // (f.array.itemsize or f.size or 1) if f.array else 0
    if f.element is not None and f.element > 2 * count + 4096:
        return "That is far beyond the end: the index is computed from other numbers than these (rows and columns exchanged, the grid's size, a product too large for int), or two arguments changed places."
    if f.array and f.array.shape and len(f.array.shape) >= 2:
        rows, columns = f.array.shape[-2:]
        return f"The element of row r and column c is r * {columns} + c here, with r < {rows} and c < {columns}: a guard is missing or off by one, or another width than {columns} stands in the formula."
    return "A guard is missing or off by one (if (i < n)), or the index is computed with the wrong width."


def _unset(f: Finding) -> str:
    if f.raw == "local":
        return "It holds whatever was there before: give it a value where it is declared."
    if f.array and f.array.space == "constant":
        return f"Nobody gave it a value: launch with constants={{'{f.array.name}': ...}}, with as many values as the kernel reads (cudaMemcpyToSymbol does that in C++)."
    if f.array and f.array.space == "shared":
        return "No thread of this block has written it: a part of the tile is never loaded, a sum does not start from zero, or it is read before the thread that fills it has come so far (a missing __syncthreads())."
    return "It is an output, whose old contents mean nothing: start from zero instead of adding to it, or write before reading."


def _unwritten(f: Finding) -> str:
    tail = len(f.runs) == 1 and sum(f.runs[0]) == f.total
    if f.detail == "strayed":
        return "The writes that went out of bounds are missing here."
    if f.reach & TWO_WRITES:
        return "Other elements are written twice: look at how the index follows from blockIdx and threadIdx."
    if f.launched and f.launched < (f.total or 0):
        text = f"{f.launched:,} threads were launched for {f.total:,} elements: the grid is too small (rounded down instead of up?), unless each thread writes several."
    elif tail and f.launched:
        text = f"The array's end is left: a guard turns too many threads away, or the grid covers too little of it ({f.launched:,} threads)."
    else:
        text = (
            "A guard turns too many threads away, or the index formula leaves these elements out."
        )
    return (
        f"{text} (If old contents are to stay, name in outputs= only the tensors that must be written.)"
        if f.detail == "guessed"
        else text
    )


def xyz(index) -> str:
    return f"({', '.join(map(str, index))})"


def _lanes(mask: int) -> str:
    lanes, text = [i for i in range(32) if mask >> i & 1], []
    for lane in lanes:
        if text and text[-1][1] == lane - 1:
            text[-1][1] = lane
        else:
            text.append([lane, lane])
    return ", ".join(f"{a}..{b}" if b > a else str(a) for a, b in text)


def _lines(f: Finding) -> tuple[int, int]:
    """The two lines of a race, the upper one first."""
    first, second = sorted((f.line or 0, f.other_line or f.line or 0))
    return first, second


def _overlap(f: Finding, g: Finding) -> bool:
    """Whether one barrier could stand between the lines of both races."""
    (a, b), (c, d) = _lines(f), _lines(g)
    return max(a, c) <= min(b, d)


def merge(findings: list[Finding]) -> list[Finding]:
    """One finding for each mistake, worst first: a race by its array, others by array and line.

    After a thread has written past its own local array, what it does means nothing any more.
    """
    for i, f in enumerate(findings):
        if f.local and f.kind == "out-of-bounds" and f.write:
            return merge([replace(f, write=False)] + [g for g in findings[:i] if not g.local])
    groups: dict[tuple, Finding] = {}
    for f in findings:
        key = (f.kind, f.array.name if f.array else f.detail if f.raw == "index" else None)
        key += () if f.kind in RACES else (f.line, f.write)
        if not (first := groups.get(key)):
            groups[key] = f
            continue
        together = {*first.threads, *(f.threads if f.block == first.block else ())}
        pairs = {*first.also, _lines(f)} if f.kind in RACES else set()
        groups[key] = replace(
            first,
            count=first.count + f.count,
            threads=tuple(sorted(together)),
            reach=first.reach | (f.reach if _lines(f) == _lines(first) else f.reach & SEEN_IN if _overlap(f, first) else 0),
            also=tuple(sorted(pairs - {_lines(first)})),
        )  # fmt: skip
    races = [f for f in groups.values() if f.kind in RACES]
    twice = {(f.array, f.line) for f in findings if f.write and f.detail == "write"}
    astray = {f.array for f in findings if f.kind == "out-of-bounds" and f.write}
    for key, f in groups.items():
        seen = 0
        if f.kind == "unwritten" and f.array in astray:
            f = replace(f, detail="strayed")
        if f.kind in RACES and (f.array, f.line) in twice:
            seen |= TWO_WRITES
        if f.kind == "unwritten" and any(
            r.kind == "double-write" and r.array == f.array for r in races
        ):
            seen |= TWO_WRITES
        if (
            f.kind == "shared-race"
        ):  # one barrier for several arrays: the widest that any of them needs
            seen |= IN_BLOCK * any(
                r.reach & IN_BLOCK and r.kind == f.kind and _overlap(r, f) for r in races
            )
        groups[key] = replace(f, reach=f.reach | seen)
    return sorted(groups.values(), key=lambda f: (not f.local, _ORDER[f.kind], f.line or 0))
