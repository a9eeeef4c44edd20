"""One mistake of a kernel: where, which threads, how often; and what belongs together is one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from cnnlab.simulator import causes
from cnnlab.simulator.causes import CAUSES, IN_BLOCK, RACES, SEEN_IN, TWO_WRITES

__all__ = ["Array", "Counter", "Finding", "merge"]


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
        return self.detail if self.raw == "failure" else causes.say(CAUSES[self.kind].message, self)

    @property
    def cause(self) -> str:
        """What this evidence says about the cause, in a sentence or two."""
        return causes.say(CAUSES[self.kind].cause, self)

    @property
    def who(self) -> str:
        return f"block {self.block} thread {self.thread}" if self.block else "the kernel"

    @property
    def did(self) -> str:
        return "access" if self.local else "write" if self.write else "read"

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
        return self.reach & (causes.SAME_VALUE | causes.ANOTHER_VALUE) == causes.SAME_VALUE

    @property
    def both_write(self) -> bool:
        return self.write and self.detail == "write"

    @property
    def lines(self) -> tuple[int, int]:
        """The two lines of a race, the upper one first."""
        first, second = sorted((self.line or 0, self.other_line or self.line or 0))
        return first, second

    @property
    def one_line(self) -> bool:
        """Whether both sides of a race are in one line."""
        return self.other_line in (None, self.line)

    @property
    def sides(self) -> tuple[int | None, int | None]:
        """The line that writes and the one that reads, of a race between two such."""
        return (self.line, self.other_line) if self.write else (self.other_line, self.line)

    @property
    def name(self) -> str:
        """The array's name; of a tensor that was given twice, the first one's."""
        return self.array.name.split("=")[0] if self.array else ""

    @property
    def pattern(self) -> str:
        """The array's name, for a search in the source."""
        return re.escape(self.name)

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
        """The threads of the first block's layer, by rows: 1 offends, 2 is the other side.

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
        own = ("kind", "line", "message", "cause", "element", "index", "block", "thread", "count")
        return {what: getattr(self, what) for what in own} | {
            "source": self.source_line,
            "array": self.array.name if self.array else None,
            "other": other if self.other_block else None,
        }


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
            merged[i] = replace(f, detail="twice")
        elif f.kind in RACES:
            more = TWO_WRITES * ((f.array, f.line) in written_twice)
            for g in (*merged, *flags):
                if g.array == f.array and g in flags and _overlap(f, g):
                    more |= g.reach & SEEN_IN
                elif g.kind == f.kind == "shared-race" and _overlap(f, g):
                    more |= g.reach & IN_BLOCK  # one barrier for both: the wider one
            merged[i] = replace(f, reach=f.reach | more)
    return sorted(merged, key=lambda f: (not f.local, _ORDER[f.kind], f.line or 0))
