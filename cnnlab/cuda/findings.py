# ruff: noqa: E501 (one sentence a line)
"""One mistake of a kernel: where, which threads, what happened, and what follows from the evidence."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import NamedTuple

from cnnlab.cuda.source import strip_comments

__all__ = ["CAUSES", "RACES", "Array", "Counter", "Finding", "awaited", "merge"]

SHOWN = 5  # findings of a report in full; the others in a line
RACES = ("shared-race", "global-race", "double-write")
# What the launcher saw (`Finding.reach`) of a race: between which threads, with which values ...
IN_WARP, IN_BLOCK, BETWEEN_BLOCKS, SAME_VALUE, ANOTHER_VALUE = 1, 2, 4, 8, 16
SEEN_IN = IN_WARP | IN_BLOCK | BETWEEN_BLOCKS
UNFENCED = 64  # ... an atomic lies between the two, but no __threadfence() before it
BESIDE_ATOMIC = 128  # ... one of the two is itself an atomic
WAITS = 256  # of an endless loop: it looks at an atomic or a volatile variable again and again
TWO_WRITES = 32  # found when merging: threads also write over each other


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
        return CAUSES[self.kind].title

    @property
    def message(self) -> str:
        """What happened, in one sentence."""
        say = CAUSES[self.kind].message
        if self.raw == "failure":
            return self.detail
        return say(self) if callable(say) else say.format(f=self)

    @property
    def cause(self) -> str:
        """What this evidence says about the cause, in a sentence or two."""
        say = CAUSES[self.kind].cause
        return say(self) if callable(say) else say

    @property
    def who(self) -> str:
        where = f"block {xyz(self.block)} thread {xyz(self.thread)}"
        return where if self.block else "the kernel"

    @property
    def did(self) -> str:
        return "write" if self.write else "read"

    @property
    def source_line(self) -> str:
        return self.row(self.line)

    def row(self, line: int | None) -> str:
        """One line of the source."""
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
    def both_write(self) -> bool:
        return self.write and self.detail == "write"

    @property
    def lines(self) -> tuple[int, int]:
        """The two lines of a race, the upper one first."""
        first, second = sorted((self.line or 0, self.other_line or self.line or 0))
        return first, second

    @property
    def unit(self) -> int:
        """Bytes an element."""
        return (self.array.itemsize if self.array else None) or self.size or 1

    @property
    def length(self) -> int:
        """Elements of the array."""
        return self.array.bytes // self.unit if self.array else 0

    @property
    def element(self) -> int | None:
        """The element's number in its array (flat, negative before its start)."""
        if self.kind == "unwritten" and self.runs:
            return self.runs[0][0] * self.cell // (self.array.itemsize or self.cell)
        if self.array is None or self.offset is None:
            return None
        return self.offset // self.unit

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
        last = self.element + self.size // self.unit - 1
        text = f"{name}[{self.element}{f'..{last}' if last > self.element else ''}]"
        if not self.index:
            return text
        shape = "×".join(map(str, self.array.shape))
        if len(self.index) == 2:
            return f"{text} (row {self.index[0]}, column {self.index[1]} of {shape})"
        return f"{text} (index {', '.join(map(str, self.index))} of {shape})"

    def plane(self) -> list[list[int]]:
        """The threads of the first offending block's layer, by rows: 1 offends, 2 is the other side.

        A long row of threads is cut into its warps. Empty where threads say nothing.
        """
        (width, height, depth), z = self.block_shape, (self.thread or (0, 0, 0))[2]
        if not self.threads or not self.block or self.kind == "unwritten" or width * height < 2:
            return []
        marks = [0] * (width * height)
        for t in self.threads:
            if t // len(marks) == z:
                marks[t % len(marks)] = 1
        if self.other_thread and self.other_block == self.block and self.other_thread[2] == z:
            marks[self.other_thread[1] * width + self.other_thread[0]] = 2
        columns = 32 if height * depth == 1 and width > 64 else width
        return [marks[i : i + columns] for i in range(0, len(marks), columns)]

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


def xyz(index) -> str:
    return f"({', '.join(map(str, index or ()))})"


# ---- accesses outside an array ------------------------------------------------------------------


def _outside(f: Finding) -> str:
    if f.detail == "far":
        return f"{f.who}: {f.did} out of bounds, far outside every array"
    if f.detail == "another's":
        return f"{f.who} {f.did}s the local memory of another thread"
    if f.detail == "local":
        return f"{f.who} writes past the end of one of its local arrays"
    if f.wrong_index:
        shape, planes = f.array.shape, len(f.array.shape) - 2
        axes = (
            [f"index {i}" for i in range(planes)] + ["row", "column"] if planes >= 0 else ["index"]
        )
        at = ", ".join(f"{axis} {i}" for axis, i in zip(axes, f.wrong_index, strict=True))
        has = " and ".join(f"{axis} 0..{n - 1}" for axis, n in zip(axes, shape, strict=True))
        did = "access" if f.local else f.did
        return f"{f.who}: {did} out of bounds: {f.place} ({at}), {f.array.name} has {has}"
    if f.raw == "index":
        of = f" of {f.array.name}" if f.array else ""
        return f"{f.who}: index {f.detail.replace(' of ', ' is outside ', 1)}{of}"
    valid = f"valid: 0..{f.length - 1}" if f.length else "the array is empty"
    wrapped = ", an unsigned index that went below zero" if f.detail == "wrapped" else ""
    return f"{f.who}: {f.did} out of bounds: {f.place}{wrapped}, {valid}"


def _why_outside(f: Finding) -> str:
    name = f.array.name if f.array else ""
    if f.detail == "far":
        return "A product of indices may have left the range of int (compute it in size_t), or an index came out of memory and was never checked."
    if f.detail == "another's":
        return "The address of a local array was handed on, or an index is far beyond one's own array: what threads share lies in shared or global memory."
    if f.local:
        return "A local array belongs to one thread; behind it lie the thread's own variables, which are lost, on a GPU too. What went wrong after that is not shown."
    if f.detail == "wrapped":
        return "An unsigned number is never negative: 0u - 1 is 4,294,967,295, and the test >= 0 is always true. Compute the index as int (blockIdx and threadIdx are unsigned)."
    if name and re.search(rf"\b{re.escape(name)}\s*\[[^\]]*\w\s*\[", f.source_line):
        return f"The index comes out of another array: test what is read there before it is used, or make {name} larger."
    if f.raw == "index":
        if f.wrong_index and min(f.wrong_index) < 0:
            return "An index below zero: shift it by the halo, or test it first."
        text = "The array is too small or the loop too long"
        if f.wrong_index and len(f.wrong_index) == 1:
            return f"{text}, or the index is not the one that is meant."
        return f"{text}; a tile with its halo has TILE + K - 1 rows and columns. The compiler does not stop at the end of a row: the access lands in the next one."
    if f.array and f.array.space == "shared" and not f.array.shape:
        return f"The launch gave {f.array.bytes} bytes of dynamic shared memory: set shared_bytes= (the third value in <<<...>>>) to what the kernel uses, or mend the index."
    if f.array and not f.array.bytes:
        return "The tensor given has no elements."
    if f.element is not None and f.element < 0:
        remainder = " The remainder (%) of a negative number is negative, and so is a product that is too large for int."
        return (
            "The access is before the array's start: a test >= 0 is missing (r >= 0 && c >= 0), or the index is computed from too small a number."
            + remainder * ("%" in f.source_line)
        )
    if f.element is not None and f.element > 2 * f.length + 4096:
        return "That is far beyond the end: the index is computed from other numbers than these (rows and columns exchanged, the grid's size, a product too large for int), or two arguments changed places."
    if f.array and f.array.shape and len(f.array.shape) >= 2:
        rows, columns = f.array.shape[-2:]
        return f"The element of row r and column c is r * {columns} + c here, with r < {rows} and c < {columns}: a guard is missing or off by one, or another width than {columns} stands in the formula."
    return "A guard is missing or off by one (if (i < n)), or the index is computed with the wrong width."


def _why_misaligned(f: Finding) -> str:
    text = f"An access of {f.size} bytes at once needs an address that is a multiple of {f.size}: "
    if f.array.space == "shared":
        return (
            text
            + "where one piece of shared memory is cut into several arrays, those of the largest elements come first."
        )
    return (
        text
        + f"a row whose width is no multiple of {max(f.size // f.unit, 2)} breaks it, or a pointer that was moved on by another number."
    )


# ---- races --------------------------------------------------------------------------------------


def _race(f: Finding) -> str:
    where = f" (line {f.other_line})" if f.other_line else ""
    other = f"block {xyz(f.other_block)} " if f.other_block != f.block else ""
    same = ", with the same value" if f.same_value else ""
    return f"{f.who} {f.did}s {f.place}, which {other}thread {xyz(f.other_thread)} {f.detail}s{where}{same}, and nothing orders the two"


def _one_place(f: Finding) -> bool:
    """Whether the line has one element of the array only, however often."""
    name = re.escape(f.array.name) if f.array else ""
    return len(set(re.findall(rf"\b{name}\s*\[([^\]]*)\]", f.source_line))) <= 1


def _updates(f: Finding) -> bool:
    """Whether a line reads an element, changes it and writes it back, and that element only."""
    row = f.source_line
    if not _one_place(f):
        return False
    if re.search(r"\+\+|--|(?:[-+*/%&|^]|<<|>>)=(?!=)", re.sub(r"\bfor\s*\([^)]*\)", "", row)):
        return True
    left, equals, right = row.partition("=")
    written = re.search(r"([\w.>*-]+(?:\s*\[[^=]*\])?)\s*$", left)
    return bool(equals and written and written[1].lstrip("*") in right.partition(";")[0])


def _looks_first(f: Finding) -> bool:
    """Whether the line where an element is read looks at it in a condition, and then sets it."""
    name = re.escape(f.array.name) if f.array else ""
    test = rf"\b(?:if|while)\s*\(.*?(?:\b{name}\s*\[|\*\s*{name}\b)"
    return bool(f.array and _one_place(f) and re.search(test, f.source_line))


def awaited(f: Finding) -> bool:
    """Whether one side waits in a loop for a volatile variable that the other one sets."""
    name = re.escape(f.array.name) if f.array else ""
    reader = f.row(f.other_line if f.write else f.line)
    waits = re.search(rf"\bwhile\s*\([^;]*\b{name}\b", reader)
    return bool(waits and re.search(rf"\bvolatile\b[^;,]*\b{name}\b", f.source))


def _again(f: Finding) -> str:
    """How a race's lines meet past a barrier that is wide enough: the way back that lacks one."""
    first, second = f.lines
    rows = strip_comments(f.source).splitlines()
    between, before = "\n".join(rows[first : second - 1]), "\n".join(rows[:first])
    wide = r"__syncthreads|\bsync\s*\(" + "|__syncwarp" * (not f.reach & IN_BLOCK)
    if not re.search(wide, between) or re.search(r"__(?:global|device)__", between):
        return ""
    *_, kind, body = ["", *re.split(r"__(global|device)__", before)]
    ways = ["the next round of the loop"] * bool(re.search(r"\b(?:for|while|do)\b", body))
    return " or ".join(ways + ["the next call"] * (kind == "device"))


def _why_race(f: Finding) -> str:
    name = f.array.name.split("=")[0] if f.array else "the element"
    one_line, in_one_warp = f.other_line in (None, f.line), prod(f.block_shape) <= 32
    first, second = f.lines
    narrow = re.search(r"\b(atomic\w+)_block\b", f.row(f.line) + f.row(f.other_line))
    if narrow and f.reach & BESIDE_ATOMIC and f.reach & BETWEEN_BLOCKS and f.both_write:
        return f"{narrow[0]} is atomic among the threads of one block only, and {name} is changed by several: use {narrow[1]}."
    if f.reach & BESIDE_ATOMIC and f.reach & BETWEEN_BLOCKS and not f.both_write:
        changed, read = (f.line, f.other_line) if f.write else (f.other_line, f.line)
        return (
            f"Line {changed} changes {name} by an atomic, while line {read} reads it without one. If the old value and the new one are both right there, "
            f"read it by an atomic too (atomicAdd with 0) or through a volatile pointer; if not, let it read an array that the launch before has left."
            + " What atomicAdd returns is the old value, which no other thread gets."
            * ("atomicAdd" in f.row(changed))
        )
    if not f.both_write and awaited(f):
        return f"{name} is a flag that others wait for, and it lacks its fences: a __threadfence() (within a block __threadfence_block()) before it is set, and one behind the loop that waits."
    if one_line and f.reach & TWO_WRITES and _updates(f):
        text = f"Each of these threads reads {name}, changes it and writes it back; a change that came in between is lost, and no barrier helps. "
        text += "Use atomicAdd (atomicMax, ...), or let every thread sum up for itself and reduce the sums afterwards."
        if f.reach & UNFENCED:
            text += " Where a lock guards this line, it lacks its fences: __threadfence() behind the atomicCAS and before the atomicExch."
        elif re.search(rf"\b{re.escape(name)}\s*\[\s*\w*[a-z_]\w*\s*\]", f.source_line):
            text += " Should each element be one thread's own, then its index is wrong: a loop over the whole grid goes on by blockDim.x * gridDim.x."
        return text
    if f.reach & UNFENCED:
        return (
            "An atomic lies between the two, but atomics do not order other memory: put a __threadfence() behind the write, "
            "before the atomic that announces it, and one behind the atomic by which the reader learns of it."
            + " (__threadfence_block() is enough within a block only.)"
            * ("__threadfence_block" in f.source)
        )
    if one_line and not f.both_write and _looks_first(f):
        return f"A thread looks at {name} and then sets it, and another one can come in between: let one atomic do both (atomicCAS; atomicMax for a maximum), and look at what it returns."
    if f.both_write and f.same_value:
        return f"They write the same value, which does no harm in itself: let one thread write it (if (threadIdx.x == 0)); or, if each element should have a thread of its own, look at how {name}'s index follows from blockIdx and threadIdx."
    if f.reach & BETWEEN_BLOCKS:
        if f.both_write:
            return "Two threads compute the same output: look at how row and column follow from blockIdx and threadIdx, or use atomicAdd."
        return "Blocks run in any order, and __syncthreads() orders only the threads of one: read from one array and write to another, do the second step in a second launch, or use atomics."
    if f.both_write and one_line:
        return f"Several threads store different values in one element, and any of them may be the last: look at how {name}'s index follows from threadIdx."
    if one_line:
        loop = re.search(r"\b(?:for|while|do)\b", strip_comments(f.source))
        where = f"between one round of the loop and the next (line {f.line}), or between the reading and the writing in it"
        where = where if loop else f"between the reading and the writing in line {f.line}"
        if f.array is not None and f.array.space == "global":
            where += "; or, where several threads may choose one element, an atomic (atomicCAS)"
    elif again := _again(f):
        where = f"between line {second} and {again}, which comes to line {first} again"
    else:
        where = f"between line {first} and line {second}"
    if f.reach & IN_BLOCK or in_one_warp:
        also = " (__syncwarp() does as well in a block of one warp)" if in_one_warp else ""
        text = f"A __syncthreads() is missing {where}{also}."
        if f.both_write and not one_line and f.array and not f.array.shape:
            text += f" Or they should not meet there: then the arrays that are cut out of {name} overlap."
        return text
    return f"A __syncwarp() is missing {where}: the threads of a warp do not run in step. (In a branch that only some warps take, __syncthreads() would be wrong.)"


# ---- values that are missing --------------------------------------------------------------------


def _unset(f: Finding) -> str:
    if f.raw == "local":
        return f"{f.detail} is read before it has a value"
    return f"{f.who} reads {f.place}, which holds no value yet"


def _why_unset(f: Finding) -> str:
    if f.raw == "local":
        return "It holds whatever was there before: give it a value where it is declared."
    if f.array and f.array.space == "constant":
        return f"Nobody gave it a value: launch with constants={{'{f.array.name}': ...}}, with as many values as the kernel reads (cudaMemcpyToSymbol does that in C++)."
    if f.array and f.array.space == "shared":
        return "No thread of this block has written it: a part of the tile is never loaded, a sum does not start from zero, or it is read before the thread that fills it has come so far (a missing __syncthreads())."
    return "It is an output, whose old contents mean nothing: start from zero instead of adding to it, or write before reading."


def _why_unwritten(f: Finding) -> str:
    if f.detail == "strayed":
        return "The writes that went out of bounds are missing here."
    if f.reach & TWO_WRITES:
        return "Other elements are written twice: look at how the index follows from blockIdx and threadIdx."
    if f.launched and f.launched < (f.total or 0):
        text = f"{f.launched:,} threads were launched for {f.total:,} elements: the grid is too small (rounded down instead of up?), unless each thread writes several."
    elif f.launched and len(f.runs) == 1 and sum(f.runs[0]) == f.total:
        text = f"The array's end is left: a guard turns too many threads away, or the grid covers too little of it ({f.launched:,} threads)."
    else:
        text = (
            "A guard turns too many threads away, or the index formula leaves these elements out."
        )
    kept = " (If old contents are to stay, name in outputs= only the tensors that must be written.)"
    return text + kept * (f.detail == "guessed")


# ---- the kinds ----------------------------------------------------------------------------------


def _said(f: Finding) -> str:
    return f"{f.who}: {f.detail or f.title}"


def _stopped_short(f: Finding) -> str:
    return f"block {xyz(f.block)}: of {prod(f.block_shape)} threads, {f.detail}"


def _left(f: Finding) -> str:
    lanes = [i for i in range(32) if f.offset >> i & 1]
    starts = [i for i in lanes if i - 1 not in lanes]
    ends = [i for i in lanes if i + 1 not in lanes]
    text = ", ".join(f"{a}..{b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True))
    return f"{f.who} calls {f.detail}, but lanes {text} of its mask have left without taking part"


def _wrong_mask(f: Finding) -> str:
    return (
        f"{f.who} calls {f.detail} with mask 0x{f.offset & 0xFFFFFFFF:08x}, which leaves itself out"
    )


def _why_endless(f: Finding) -> str:
    if f.reach & WAITS:
        return (
            "The loop never ends: it waits for what another thread should write. That one may be held up by a barrier, or by a lock that nobody opens; "
            "or its block has not begun, for blocks start in any order (take a block's number from an atomic counter instead of blockIdx)."
        )
    return "A loop never ends: its condition does not change (an unsigned counter is always >= 0; a variable that another thread sets is looked at once, unless it is volatile), or it waits for a thread that cannot come. If it is only long: mode='fast', or a larger timeout."


class _Kind(NamedTuple):
    """What a kind of finding is called, what is said of one, and of its cause."""

    title: str
    message: str | Callable[[Finding], str]
    cause: str | Callable[[Finding], str]


CAUSES = {  # gravest first
    "forbidden": _Kind("forbidden", _said, "A kernel may only compute: it reads and writes the arrays it was given."),
    "crash": _Kind("crash", "{f.who}: {f.title}", "A pointer or an index went far astray."),
    "null-pointer": _Kind("null pointer", _said, "A pointer argument was null, a pointer was never set, or a function returned the address of its own local variable."),
    "wild-pointer": _Kind("wild pointer", "{f.who}: {f.title}", "The address lies in none of the kernel's arrays: a pointer was overwritten or never set."),
    "misaligned": _Kind("misaligned access", "{f.who}: {f.did} of {f.size} bytes at byte {f.offset} of {f.array.name}, no multiple of {f.size}", _why_misaligned),
    "stack-overflow": _Kind("stack overflow", "{f.who}: {f.title}", "Local arrays or a recursion need more than the 512 KB of local memory that a thread has."),
    "division-by-zero": _Kind("division by zero", "{f.who}: {f.title}", "An integer was divided by zero; a GPU gives an arbitrary number and goes on."),
    "infinite-loop": _Kind("infinite loop", _said, _why_endless),
    "trap": _Kind("trap", _said, "The kernel stopped itself."),
    "warp-mask": _Kind("wrong warp mask", _wrong_mask, "A thread must name itself in the mask it passes."),
    "deadlock": _Kind("deadlock", _stopped_short, "Some threads wait for others that wait elsewhere: a warp operation inside a branch that only a part of its mask takes."),
    "divergent-barrier": _Kind("divergent barrier", _stopped_short, "__syncthreads() must be reached by all threads of the block, the same one: move it out of the if, let all threads make as many rounds of the loop, and return early only after the last barrier."),
    "divergent-warp": _Kind("divergent warp operation", _left, "Every lane named in the mask must execute the operation: leave the branch first, or name only the lanes inside."),
    "inactive-lane": _Kind("shuffle from an inactive lane", "{f.who}: {f.detail} reads lane {f.offset}, which does not take part", "The lane that is read does not take part (it left, does not exist, or is not in the mask), so the value is undefined."),
    "out-of-bounds": _Kind("out of bounds", _outside, _why_outside),
    "constant-store": _Kind("store to constant memory", "{f.who} writes {f.place}, a __constant__ array", "__constant__ memory is written from the host, between launches; a kernel can only read it."),
    "shared-race": _Kind("race in shared memory", _race, _why_race),
    "global-race": _Kind("race in global memory", _race, _why_race),
    "double-write": _Kind("written by several threads", _race, _why_race),
    "uninitialised": _Kind("read before any write", _unset, _why_unset),
    "unwritten": _Kind("never written", "{f.count} of {f.total} elements of {f.array.name} are never written, first {f.place}", _why_unwritten),
    "timeout": _Kind("stopped for its time", _said, "The kernel was getting on, so this is no endless loop: take a smaller input, mode='fast', or a larger timeout."),
}  # fmt: skip
_ORDER = {kind: i for i, kind in enumerate(CAUSES)}


# ---- one finding a mistake ----------------------------------------------------------------------


def _overlap(f: Finding, g: Finding) -> bool:
    """Whether one barrier could stand between the lines of both races."""
    (a, b), (c, d) = f.lines, g.lines
    return max(a, c) <= min(b, d)


def _joined(first: Finding, f: Finding) -> Finding:
    """Two findings of one mistake: the first one, with what the other adds to it."""
    together = {*first.threads, *(f.threads if f.block == first.block else ())}
    pairs = {*first.also, f.lines} - {first.lines} if f.kind in RACES else ()
    more = f.reach if f.lines == first.lines else f.reach & SEEN_IN * _overlap(f, first)
    return replace(
        first,
        count=first.count + f.count,
        threads=tuple(sorted(together)),
        reach=first.reach | more,
        also=tuple(sorted(pairs)),
    )


def merge(findings: list[Finding], flags: Sequence[Finding] = ()) -> list[Finding]:
    """One finding for each mistake, worst first: a race by its array, others by array and line.

    ``flags`` are races that are no mistakes; they only tell which threads touch an array.
    After a thread has written past its own local array, what it does means nothing any more.
    """
    for i, f in enumerate(findings):
        if f.local and f.kind == "out-of-bounds" and f.write:
            return merge([replace(f, write=False)] + [g for g in findings[:i] if not g.local])
    groups: dict[tuple, Finding] = {}
    for f in findings:
        key = (f.kind, f.array.name if f.array else f.detail if f.raw == "index" else None)
        key += () if f.kind in RACES else (f.line, f.write)
        groups[key] = _joined(groups[key], f) if key in groups else f
    merged = list(groups.values())
    written_twice = {(f.array, f.line) for f in findings if f.both_write}
    races = {(f.kind, f.array) for f in merged if f.kind in RACES}
    astray = {f.array for f in findings if f.kind == "out-of-bounds" and f.write}
    for i, f in enumerate(merged):
        if f.kind == "unwritten" and f.array in astray:
            merged[i] = replace(f, detail="strayed")
        elif f.kind == "unwritten" and ("double-write", f.array) in races:
            merged[i] = replace(f, reach=TWO_WRITES)
        elif f.kind in RACES:
            more = TWO_WRITES * ((f.array, f.line) in written_twice)
            for g in (*merged, *flags):
                if g.array == f.array and g in flags and _overlap(f, g):
                    more |= g.reach & SEEN_IN
                elif g.kind == f.kind == "shared-race" and _overlap(f, g):
                    more |= g.reach & IN_BLOCK  # one barrier for both: the wider one
            merged[i] = replace(f, reach=f.reach | more)
    return sorted(merged, key=lambda f: (not f.local, _ORDER[f.kind], f.line or 0))
