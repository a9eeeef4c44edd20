# ruff: noqa: E501 (one sentence a line)
"""What is said of a finding, by its kind: its title, what happened, and what follows from the evidence.

A sentence is a text about the finding ``f``; where there are several, the first one holds whose
condition does.
"""

import re
from math import prod
from typing import NamedTuple

from cnnlab.simulator.text import strip_comments

__all__ = ["CAUSES", "RACES", "awaited", "is_flag", "is_look", "say"]

RACES = ("shared-race", "global-race", "double-write")
# What the launcher saw (`Finding.reach`) of a race: between which threads, with which values ...
IN_WARP, IN_BLOCK, BETWEEN_BLOCKS, SAME_VALUE, ANOTHER_VALUE = 1, 2, 4, 8, 16
SEEN_IN = IN_WARP | IN_BLOCK | BETWEEN_BLOCKS
UNFENCED = 64  # ... an atomic lies between the two, but no __threadfence() before it
BESIDE_ATOMIC = 128  # ... one of the two is itself an atomic
WAITS = 256  # of an endless loop: it looks at an atomic or a volatile variable again and again
TWO_WRITES = 32  # found when merging: threads also write over each other


def say(sentence, f) -> str:
    """A sentence about a finding: a text, what a function makes of it, or the first row that holds."""
    if isinstance(sentence, tuple):
        sentence = next(text for holds, text in sentence if holds(f))
    return sentence(f) if callable(sentence) else sentence.format(f=f)


def otherwise(f) -> bool:
    return True


# ---- what the source's lines tell -----------------------------------------------------------------


def _one_place(f) -> bool:
    """Whether the line has one element of the array only, however often."""
    return len(set(re.findall(rf"\b{f.pattern}\s*\[([^\]]*)\]", f.source_line))) <= 1


def _updates(f) -> bool:
    """Whether a line reads an element, changes it and writes it back, and that element only."""
    row = f.source_line
    if not _one_place(f):
        return False
    if re.search(r"\+\+|--|(?:[-+*/%&|^]|<<|>>)=(?!=)", re.sub(r"\bfor\s*\([^)]*\)", "", row)):
        return True
    left, equals, right = row.partition("=")
    written = re.search(r"([\w.>*-]+(?:\s*\[[^=]*\])?)\s*$", left)
    return bool(equals and written and written[1].lstrip("*") in right.partition(";")[0])


def _looks_first(f) -> bool:
    """Whether the line where an element is read looks at it in a condition, and then sets it."""
    test = rf"\b(?:if|while)\s*\(.*?(?:\b{f.pattern}\s*\[|\*\s*{f.pattern}\b)"
    return bool(f.array and _one_place(f) and re.search(test, f.source_line))


def awaited(f) -> bool:
    """Whether one side waits in a loop for a volatile variable that the other one sets."""
    waits = re.search(rf"\bwhile\s*\([^;]*\b{f.pattern}\b", f.row(f.sides[1]))
    return bool(waits and re.search(rf"\bvolatile\b[^;,]*\b{f.pattern}\b", f.source))


def is_flag(f) -> bool:
    """Whether all stores of a race set a constant, as one sets a flag."""
    constant = r"=\s*\(?(?:true|false|-?[\d.]+[fFuU]?|0[xX][\da-fA-F]+|[A-Z][A-Z_\d]*)\)?\s*;"
    stores = {f.line} if f.write else set()
    stores |= {f.other_line or f.line} if f.detail == "write" else set()
    return all(re.search(rf"[^=!<>+*/%&|^-]{constant}", " " + f.row(x)) for x in stores)


def is_look(f) -> bool:
    """Whether a race is about a volatile flag that nobody waits for, as to end a search early."""
    flag = rf"\bvolatile\b[^;,]*\b{f.pattern}\b"
    both = all(re.search(flag, f.row(x)) for x in (f.line, f.other_line or f.line))
    both |= bool(re.search(rf"\bvolatile\b[^;,()*]*\*?\s*{f.pattern}\b", f.source))
    settled = f.same_value or not f.both_write
    return f.kind in RACES and both and settled and is_flag(f) and not awaited(f)


def _by_another(f) -> bool:
    """Whether the index is an element of another array."""
    return bool(f.array and re.search(rf"\b{f.pattern}\s*\[[^\]]*\w\s*\[", f.source_line))


def _lost_update(f) -> bool:
    return f.one_line and f.reach & TWO_WRITES and _updates(f)


def _whole_grid(f) -> bool:
    """Whether the index is a variable, which may be meant to be the thread's own."""
    return bool(re.search(rf"\b{f.pattern}\s*\[\s*\w*[a-z_]\w*\s*\]", f.source_line))


def _again(f) -> str:
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


def _missing_barrier(f) -> str:
    first, second = f.lines
    in_one_warp = prod(f.block_shape) <= 32
    if f.one_line:
        loop = re.search(r"\b(?:for|while|do)\b", strip_comments(f.source))
        where = f"between one round of the loop and the next (line {f.line}), or between the reading and the writing in it"
        where = where if loop else f"between the reading and the writing in line {f.line}"
        if f.array.space == "global":
            where += "; or, where several threads may choose one element, an atomic (atomicCAS)"
    elif again := _again(f):
        where = f"between line {second} and {again}, which comes to line {first} again"
    else:
        where = f"between line {first} and line {second}"
    if not (f.reach & IN_BLOCK or in_one_warp):
        return f"A __syncwarp() is missing {where}: the threads of a warp do not run in step. (In a branch that only some warps take, __syncthreads() would be wrong.)"
    also = " (__syncwarp() does as well in a block of one warp)" if in_one_warp else ""
    text = f"A __syncthreads() is missing {where}{also}."
    if f.both_write and not f.one_line and not f.array.shape:
        text += (
            f" Or they should not meet there: then the arrays that are cut out of {f.name} overlap."
        )
    return text


# ---- sentences ------------------------------------------------------------------------------------


def _on_axes(f) -> str:
    """An access whose index its compiled check refused, axis by axis."""
    axes = [f"index {i}" for i in range(len(f.array.shape) - 2)] + ["row", "column"]
    axes = axes if len(f.array.shape) > 1 else ["index"]
    at = ", ".join(f"{axis} {i}" for axis, i in zip(axes, f.wrong_index, strict=True))
    has = " and ".join(f"{axis} 0..{n - 1}" for axis, n in zip(axes, f.array.shape, strict=True))
    return f"{f.who}: {f.did} out of bounds: {f.place} ({at}), {f.array.name} has {has}"


_OUTSIDE = (
    (lambda f: f.detail == "far", "{f.who}: {f.did} out of bounds, far outside every array"),
    (lambda f: f.detail == "another's", "{f.who} {f.did}s the local memory of another thread"),
    (lambda f: f.detail == "local", "{f.who} writes past the end of one of its local arrays"),
    (lambda f: f.wrong_index, _on_axes),
    (lambda f: f.raw == "index" and f.array, "{f.who}: index {f.detail} of {f.array.name}"),
    (lambda f: f.raw == "index", "{f.who}: index {f.detail}"),
    (lambda f: not f.length, "{f.who}: {f.did} out of bounds: {f.place}, the array is empty"),
    (lambda f: f.detail == "wrapped", lambda f: f"{f.who}: {f.did} out of bounds: {f.place}, an unsigned index that went below zero, valid: 0..{f.length - 1}"),
    (otherwise, lambda f: f"{f.who}: {f.did} out of bounds: {f.place}, valid: 0..{f.length - 1}"),
)  # fmt: skip
_BEFORE = "The access is before the array's start: a test >= 0 is missing (r >= 0 && c >= 0), or the index is computed from too small a number."
_WHY_OUTSIDE = (
    (lambda f: f.detail == "far", "A product of indices may have left the range of int (compute it in size_t), or an index came out of memory and was never checked."),
    (lambda f: f.detail == "another's", "The address of a local array was handed on, or an index is far beyond one's own array: what threads share lies in shared or global memory."),
    (lambda f: f.local, "A local array belongs to one thread; behind it lie the thread's own variables, which are lost, on a GPU too. What went wrong after that is not shown."),
    (lambda f: f.detail == "wrapped", "An unsigned number is never negative: 0u - 1 is 4,294,967,295, and the test >= 0 is always true. Compute the index as int (blockIdx and threadIdx are unsigned)."),
    (_by_another, "The index comes out of another array: test what is read there before it is used, or make {f.name} larger."),
    (lambda f: f.raw == "index" and min(f.wrong_index or (0,)) < 0, "An index below zero: shift it by the halo, or test it first."),
    (lambda f: f.raw == "index" and len(f.wrong_index or ()) == 1, "The array is too small or the loop too long, or the index is not the one that is meant."),
    (lambda f: f.raw == "index", "The array is too small or the loop too long; a tile with its halo has TILE + K - 1 rows and columns. The compiler does not stop at the end of a row: the access lands in the next one."),
    (lambda f: f.array.space == "shared" and not f.array.shape, "The launch gave {f.array.bytes} bytes of dynamic shared memory: set shared_bytes= (the third value in <<<...>>>) to what the kernel uses, or mend the index."),
    (lambda f: not f.array.bytes, "The tensor given has no elements."),
    (lambda f: f.element < 0 and "%" in f.source_line, _BEFORE + " The remainder (%) of a negative number is negative, and so is a product that is too large for int."),
    (lambda f: f.element < 0, _BEFORE),
    (lambda f: f.element > 2 * f.length + 4096, "That is far beyond the end: the index is computed from other numbers than these (rows and columns exchanged, the grid's size, a product too large for int), or two arguments changed places."),
    (lambda f: len(f.array.shape or ()) >= 2, lambda f: "The element of row r and column c is r * {1} + c here, with r < {0} and c < {1}: a guard is missing or off by one, or another width than {1} stands in the formula.".format(*f.array.shape[-2:])),
    (otherwise, "A guard is missing or off by one (if (i < n)), or the index is computed with the wrong width."),
)  # fmt: skip
_ALIGNED = "An access of {f.size} bytes at once needs an address that is a multiple of {f.size}: "
_WHY_MISALIGNED = (
    (lambda f: f.array.space == "shared", _ALIGNED + "where one piece of shared memory is cut into several arrays, those of the largest elements come first."),
    (otherwise, lambda f: _ALIGNED.format(f=f) + f"a row whose width is no multiple of {max(f.size // f.unit, 2)} breaks it, or a pointer that was moved on by another number."),
)  # fmt: skip


def _race(f) -> str:
    block = f"block {f.other_block} " if f.other_block != f.block else ""
    where = f" (line {f.other_line})" if f.other_line else ""
    same = ", with the same value" if f.same_value else ""
    return f"{f.who} {f.did}s {f.place}, which {block}thread {f.other_thread} {f.detail}s{where}{same}, and nothing orders the two"


def _beside_atomic(f) -> bool:
    """Whether one side of a race between blocks is itself an atomic."""
    return f.reach & BESIDE_ATOMIC and f.reach & BETWEEN_BLOCKS


def _narrow(f) -> str:
    """The atomic in these lines, where it is one for the threads of a block only."""
    found = re.search(r"\b(atomic\w+)_block\b", f.row(f.line) + f.row(f.other_line))
    return found[1] if found else ""


_BESIDE = "Line {f.sides[0]} changes {f.name} by an atomic, while line {f.sides[1]} reads it without one. If the old value and the new one are both right there, read it by an atomic too (atomicAdd with 0) or through a volatile pointer; if not, let it read an array that the launch before has left."
_LOST = "Each of these threads reads {f.name}, changes it and writes it back; a change that came in between is lost, and no barrier helps. Use atomicAdd (atomicMax, ...), or let every thread sum up for itself and reduce the sums afterwards."
_NO_FENCE = "An atomic lies between the two, but atomics do not order other memory: put a __threadfence() behind the write, before the atomic that announces it, and one behind the atomic by which the reader learns of it."
_WHY_RACE = (
    (lambda f: _narrow(f) and _beside_atomic(f) and f.both_write, lambda f: f"{_narrow(f)}_block is atomic among the threads of one block only, and {f.name} is changed by several: use {_narrow(f)}."),
    (lambda f: _beside_atomic(f) and not f.both_write and "atomicAdd" in f.row(f.sides[0]), _BESIDE + " What atomicAdd returns is the old value, which no other thread gets."),
    (lambda f: _beside_atomic(f) and not f.both_write, _BESIDE),
    (lambda f: not f.both_write and awaited(f), "{f.name} is a flag that others wait for, and it lacks its fences: a __threadfence() (within a block __threadfence_block()) before it is set, and one behind the loop that waits."),
    (lambda f: f.reach & UNFENCED and _lost_update(f), _LOST + " Where a lock guards this line, it lacks its fences: __threadfence() behind the atomicCAS and before the atomicExch."),
    (lambda f: _lost_update(f) and _whole_grid(f), _LOST + " Should each element be one thread's own, then its index is wrong: a loop over the whole grid goes on by blockDim.x * gridDim.x."),
    (_lost_update, _LOST),
    (lambda f: f.reach & UNFENCED and "__threadfence_block" in f.source, _NO_FENCE + " (__threadfence_block() is enough within a block only.)"),
    (lambda f: f.reach & UNFENCED, _NO_FENCE),
    (lambda f: f.one_line and not f.both_write and _looks_first(f), "A thread looks at {f.name} and then sets it, and another one can come in between: let one atomic do both (atomicCAS; atomicMax for a maximum), and look at what it returns."),
    (lambda f: f.both_write and f.same_value, "They write the same value, which does no harm in itself: let one thread write it (if (threadIdx.x == 0)); or, if each element should have a thread of its own, look at how {f.name}'s index follows from blockIdx and threadIdx."),
    (lambda f: f.reach & BETWEEN_BLOCKS and f.both_write, "Two threads compute the same output: look at how row and column follow from blockIdx and threadIdx, or use atomicAdd."),
    (lambda f: f.reach & BETWEEN_BLOCKS, "Blocks run in any order, and __syncthreads() orders only the threads of one: read from one array and write to another, do the second step in a second launch, or use atomics."),
    (lambda f: f.both_write and f.one_line, "Several threads store different values in one element, and any of them may be the last: look at how {f.name}'s index follows from threadIdx."),
    (otherwise, _missing_barrier),
)  # fmt: skip
_UNSET = (
    (lambda f: f.raw == "local", "{f.detail} is read before it has a value"),
    (otherwise, "{f.who} reads {f.place}, which holds no value yet"),
)
_WHY_UNSET = (
    (lambda f: f.raw == "local", "It holds whatever was there before: give it a value where it is declared."),
    (lambda f: f.array.space == "constant", "Nobody gave it a value: launch with constants={{'{f.name}': ...}}, with as many values as the kernel reads (cudaMemcpyToSymbol does that in C++)."),
    (lambda f: f.array.space == "shared", "No thread of this block has written it: a part of the tile is never loaded, a sum does not start from zero, or it is read before the thread that fills it has come so far (a missing __syncthreads())."),
    (otherwise, "It is an output, whose old contents mean nothing: start from zero instead of adding to it, or write before reading."),
)  # fmt: skip
_WHY_UNWRITTEN = (
    (lambda f: f.detail == "strayed", "The writes that went out of bounds are missing here."),
    (lambda f: f.detail == "twice", "Other elements are written twice: look at how the index follows from blockIdx and threadIdx."),
    (lambda f: f.launched < f.total, "{f.launched:,} threads were launched for {f.total:,} elements: the grid is too small (rounded down instead of up?), unless each thread writes several."),
    (lambda f: len(f.runs) == 1 and sum(f.runs[0]) == f.total, "The array's end is left: a guard turns too many threads away, or the grid covers too little of it ({f.launched:,} threads)."),
    (otherwise, "A guard turns too many threads away, or the index formula leaves these elements out."),
)  # fmt: skip


def _why_unwritten(f) -> str:
    kept = " (If old contents are to stay, name in outputs= only the tensors that must be written.)"
    return say(_WHY_UNWRITTEN, f) + kept * (f.detail == "guessed")


_WHY_ENDLESS = (
    (lambda f: f.reach & WAITS, "The loop never ends: it waits for what another thread should write. That one may be held up by a barrier, or by a lock that nobody opens; or its block has not begun, for blocks start in any order (take a block's number from an atomic counter instead of blockIdx)."),
    (otherwise, "A loop never ends: its condition does not change (an unsigned counter is always >= 0; a variable that another thread sets is looked at once, unless it is volatile), or it waits for a thread that cannot come. If it is only long: mode='fast', or a larger timeout."),
)  # fmt: skip


def _left(f) -> str:
    lanes = [i for i in range(32) if f.offset >> i & 1]
    starts = [i for i in lanes if i - 1 not in lanes]
    ends = [i for i in lanes if i + 1 not in lanes]
    text = ", ".join(f"{a}..{b}" if b > a else f"{a}" for a, b in zip(starts, ends, strict=True))
    return f"{f.who} calls {f.detail}, but lanes {text} of its mask have left without taking part"


class _Kind(NamedTuple):
    """What a kind of finding is called, what is said of one, and of its cause."""

    title: str
    message: object
    cause: object


_SAID = (
    (lambda f: f.detail, "{f.who}: {f.detail}"),
    (otherwise, "{f.who}: {f.title}"),
)
CAUSES = {  # gravest first
    "forbidden": _Kind("forbidden", _SAID, "A kernel may only compute: it reads and writes the arrays it was given."),
    "crash": _Kind("crash", _SAID, "A pointer or an index went far astray."),
    "null-pointer": _Kind("null pointer", _SAID, "A pointer argument was null, a pointer was never set, or a function returned the address of its own local variable."),
    "wild-pointer": _Kind("wild pointer", "{f.who}: {f.title}", "The address lies in none of the kernel's arrays: a pointer was overwritten or never set."),
    "misaligned": _Kind("misaligned access", "{f.who}: {f.did} of {f.size} bytes at byte {f.offset} of {f.array.name}, no multiple of {f.size}", _WHY_MISALIGNED),
    "stack-overflow": _Kind("stack overflow", _SAID, "Local arrays or a recursion need more than the 512 KB of local memory that a thread has."),
    "division-by-zero": _Kind("division by zero", _SAID, "An integer was divided by zero; a GPU gives an arbitrary number and goes on."),
    "infinite-loop": _Kind("infinite loop", _SAID, _WHY_ENDLESS),
    "trap": _Kind("trap", _SAID, "The kernel stopped itself."),
    "warp-mask": _Kind("wrong warp mask", "{f.who} calls {f.detail} with mask 0x{f.offset:08x}, which leaves itself out", "A thread must name itself in the mask it passes."),
    "deadlock": _Kind("deadlock", "block {f.block}: {f.detail}", "Some threads wait for others that wait elsewhere: a warp operation inside a branch that only a part of its mask takes."),
    "divergent-barrier": _Kind("divergent barrier", "block {f.block}: {f.detail}", "__syncthreads() must be reached by all threads of the block, the same one: move it out of the if, let all threads make as many rounds of the loop, and return early only after the last barrier."),
    "divergent-warp": _Kind("divergent warp operation", _left, "Every lane named in the mask must execute the operation: leave the branch first, or name only the lanes inside."),
    "inactive-lane": _Kind("shuffle from an inactive lane", "{f.who}: {f.detail} reads lane {f.offset}, which does not take part", "The lane that is read does not take part (it left, does not exist, or is not in the mask), so the value is undefined."),
    "out-of-bounds": _Kind("out of bounds", _OUTSIDE, _WHY_OUTSIDE),
    "constant-store": _Kind("store to constant memory", "{f.who} writes {f.place}, a __constant__ array", "__constant__ memory is written from the host, between launches; a kernel can only read it."),
    "shared-race": _Kind("race in shared memory", _race, _WHY_RACE),
    "global-race": _Kind("race in global memory", _race, _WHY_RACE),
    "double-write": _Kind("written by several threads", _race, _WHY_RACE),
    "uninitialised": _Kind("read before any write", _UNSET, _WHY_UNSET),
    "unwritten": _Kind("never written", "{f.count} of {f.total} elements of {f.array.name} are never written, first {f.place}", _why_unwritten),
    "timeout": _Kind("stopped for its time", _SAID, "The kernel was getting on, so this is no endless loop: take a smaller input, mode='fast', or a larger timeout."),
}  # fmt: skip
