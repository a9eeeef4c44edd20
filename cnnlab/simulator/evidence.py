"""From the launcher's records to a report: lines, names and shapes found, findings merged."""

import math
import re
from dataclasses import fields
from pathlib import Path

import numpy as np

from cnnlab import sandbox
from cnnlab.simulator import debuginfo
from cnnlab.simulator.causes import is_flag, is_look
from cnnlab.simulator.findings import Array, Counter, Finding, merge
from cnnlab.simulator.report import Report
from cnnlab.simulator.text import strip_comments

__all__ = ["bare_arrays", "report_of", "without_value"]


def _lines(built: Path, addresses: set[int]) -> dict[int, int]:
    """Source lines of code addresses: the innermost one in the student's file."""
    if not addresses:
        return {}
    ordered = sorted(addresses)
    words = ["addr2line", "-e", built, "-a", "-i", *(hex(a) for a in ordered)]
    outcome = sandbox.run(words, sandbox.Policy(readable=[built]), isolation="preferred")
    lines, current = {}, None
    for text in outcome.stdout.decode(errors="replace").splitlines():
        if text.startswith("0x") and ":" not in text:
            current = int(text, 16)
        elif current is not None and (m := re.search(r"kernel\.cu:(\d+)", text)):
            lines.setdefault(current, int(m[1]))
    return lines


def report_of(kernel, launch, made, records, failure, buffers, unset, checked, timeout) -> Report:
    """The report of one launch.

    Parameters
    ----------
    made, records, failure : the build that ran, the launcher's JSON lines, and (kind, text) where
        the kernel's process came to a bad end
    buffers : the launch's tensors; the launcher numbers its regions as these, from 1 on
    unset : lines and names of local variables on whose missing value the result depends
    """
    regions = {r["region"]: r for r in records if "region" in r and "name" in r}
    given = {n: b for n, b in enumerate(buffers, 1) if regions.get(n, {}).get("argument")}
    raw = [r for r in records if "finding" in r]
    # An input that happens to be full of NaN: it was read, and never written.
    inputs = {n for n, b in given.items() if b.guessed and not regions[n]["stores"]}
    raw = [r for r in raw if r["region"] not in inputs or r["finding"] not in _OF_OUTPUTS]
    chosen = [r for r in raw if r.get("detail") == "chosen"]
    raw = [r for r in raw if r not in chosen]
    known = debuginfo.variables(made.path) if raw else ()
    lines = _lines(made.path, {r[k] - 1 for r in raw for k in ("pc", "other_pc") if r.get(k)})
    arrays = {n: _array(r, given.get(n), known, kernel) for n, r in regions.items()}
    done = next((r for r in records if "done" in r), {})
    for r in raw:
        if r["finding"] == "timeout":
            r["finding"], r["detail"] = _stopped(done, launch, timeout)
        if r["finding"] == "null-pointer":
            r["detail"] = _null_arguments(launch)
    launched = launch.blocks * launch.threads
    of_all = {"source": kernel.source, "block_shape": launch.block, "launched": launched}
    findings = [Finding(**_facts(r, arrays, lines, known, kernel.source), **of_all) for r in raw]
    if failure:
        findings.append(Finding(failure[0], detail=failure[1], raw="failure", **of_all))
    looks = [f for f in findings if is_look(f)]
    flags = [f for f in findings if f.same_value and f.both_write and is_flag(f)]
    notes = [
        f"line {f.line}: {f.count + 1:,} stores set {f.place} to the same constant. "
        "That is no race in CUDA: one of them wins, whichever it is."
        for f in merge([f for f in flags if f not in looks])
    ]
    if kernel.overlapping:
        notes.append(
            f"{' and '.join(kernel.overlapping)} are one array: every extern __shared__ array "
            "begins at the same place. Where they are to be two, cut one of them into pieces."
        )
    merged = merge([f for f in findings if f not in flags + looks], flags + looks)
    if not merged:
        notes += [
            f"{given[n].name} was read before it was written: its old contents count."
            for n, r in regions.items()
            if n in given and r["old"] and r["stores"]
        ]
        notes += [
            f"{r['count']:,} of {r['total']:,} elements of {arrays[r['region']].name} were not "
            "written; where all of them should be, name it in outputs=."
            for r in chosen
        ]
    missing = [
        Finding("uninitialised", line, detail=name, raw="local", **of_all) for line, name in unset
    ]
    printed = next((r for r in records if "printed" in r), {"printed": "", "lost": 0})
    if printed["lost"]:
        printed["printed"] += f"... ({printed['lost']} more printf calls did not fit in 1 MB)"
    counters = [
        Counter(arrays[r["region"]], r["requests"], r["units"], r["least"])
        for r in records
        if "counter" in r
    ]
    return Report(
        kernel=kernel.name,
        device="cpu, checked" if checked else "cpu",
        grid=launch.grid,
        block=launch.block,
        findings=[*missing, *merged],
        notes=notes,
        arrays=list(arrays.values()),
        counters=counters,
        barriers=done.get("barriers", 0),
        milliseconds=done.get("kernel_ms"),
        printed=printed["printed"],
        finished=bool(done.get("done")),
        nvidia=kernel.nvidia,
    )


_OF_OUTPUTS = ("unwritten", "uninitialised")
_FIELDS = {f.name for f in fields(Finding)}


def _array(r: dict, buffer, known, kernel) -> Array:
    """An array as its tensor has it, or as it is declared."""
    name, shape, itemsize = r["name"], None, None
    if name == "dynamic shared memory":
        name = kernel.dynamic or name
    if buffer:
        name, shape = buffer.name, tuple(buffer.tensor.shape)
        itemsize = buffer.tensor.element_size()
    elif v := _declared(known, r):
        shape, itemsize = v.shape or (1,), v.itemsize
    used = r["loads"], r["stores"]
    return Array(name, r["space"], r["bytes"], shape, itemsize, bool(buffer), *used)


def _facts(r: dict, arrays: dict[int, Array], lines: dict[int, int], known, source: str) -> dict:
    """One of the launcher's records with names, lines and shapes in the place of addresses."""
    refused = r["finding"] == "index"
    line, other_line = (lines.get(r.get(pc, 0) - 1) for pc in ("pc", "other_pc"))
    if "other_block" not in r:  # not in the student's lines: the last access before it
        line, other_line = line or other_line, None
    line = r.get("line") or line
    array, wrong, write = arrays.get(r["region"]), None, r.get("write", False)
    if refused:
        array, wrong, write = _refused(array, r, line, source, known)
    same = {k: tuple(v) if isinstance(v, list) else v for k, v in r.items() if k in _FIELDS}
    return same | {
        "kind": "out-of-bounds" if refused else r["finding"],
        "raw": r["finding"],
        "line": line,
        "other_line": other_line,
        "array": array,
        "offset": r.get("offset") if not refused or r["region"] else None,
        "write": write,
        "wrong_index": wrong,
    }


def bare_arrays(built: Path, source: str) -> list[debuginfo.Variable]:
    """The arrays that a thread has for itself and declares without a value."""
    code, index = strip_comments(source), r"(?:\s*\[[^\];]*\])+\s*"
    elsewhere = r"__(?:shared|constant|device|global)__"
    plain = [part for part in re.split(r"[;{}]", code) if not re.search(elsewhere, part)]
    if not any(re.search(rf"\w>?[\s*,]+\w+{index}(?:,|$)", part) for part in plain):
        return []  # debug information takes a while to read
    rows = ["", *code.splitlines(), ""]
    local = (v for v in debuginfo.variables(built) if v.space == "local" and v.shape)
    return [
        v for v in local if re.search(rf"\b{v.name}{index}[,;]", rows[min(v.line, len(rows) - 1)])
    ]


def without_value(built: Path, source: str) -> tuple[tuple[int | None, str], ...]:
    """Which local array it may be that a kernel reads without having set it: its line and name.

    One that is declared without a value, preferably one that something is added to.
    """
    bare = bare_arrays(built, source)
    update = r"(?:\s*\[[^;]*?\])+\s*(?:[-+*/&|^]=|\+\+|--)"
    bare = [v for v in bare if re.search(rf"\b{v.name}{update}", source)] or bare
    names = list(dict.fromkeys(v.name for v in bare))
    if not names:
        return ((None, "a local variable"),)
    text = f"the array {names[0]}" if len(names) == 1 else f"one of the arrays {', '.join(names)}"
    return ((bare[0].line, text),)


def _null_arguments(launch) -> str:
    """Which pointers the launch gave as None."""
    names = " and ".join(part.field.name for part in launch.pointers if part.value is None)
    return f"null pointer; the launch gave None for {names}" if names else ""


def _declared(known, region) -> debuginfo.Variable | None:
    wanted = "shared" if region["space"] == "shared" else "static", region["address"]
    named = (v for v in known if v.name == region["name"])
    return next((v for v in named if (v.space, v.address) == wanted), None)


def _refused(array, record, line, source: str, known):
    """Array, index and direction of an access whose index its compiled check refused."""
    write = record["write"]
    found = re.match(r"(-?\d+) is outside '(.*?)((?: ?\[\d+\])+)'", record["detail"])
    if not found:
        return array, None, write
    value, base = int(found[1]), found[2].strip()
    dims = tuple(map(int, re.findall(r"\d+", found[3])))
    if array is None or (array.shape and array.shape[-len(dims) :] != dims):
        return _unwatched(value, base, dims, line, source, known)  # the next access was elsewhere
    if not array.shape:
        return array, None, write
    axis = len(array.shape) - len(dims)
    rest = record["offset"] // array.itemsize - value * math.prod(array.shape[axis + 1 :])
    index = np.unravel_index(rest % math.prod(array.shape), array.shape)  # the other indices
    return array, tuple(value if i == axis else int(n) for i, n in enumerate(index)), write


def _unwatched(value: int, base: str, dims, line, source: str, known):
    """As `_refused`, for a local array: the one in that line with these sizes, declared above."""
    rows = [*source.splitlines(), ""]
    row = rows[line - 1] if line else ""
    named = [
        v for v in known if v.shape[-len(dims) :] == dims and re.search(rf"\b{v.name}\s*\[", row)
    ]
    if not named:
        return None, None, False
    v = min(named, key=lambda v: (v.type != base, v.line > line, abs(line - v.line)))
    shared = v.line and "__shared__" in rows[v.line - 1]
    space = "shared" if shared else "constant" if v.space == "static" else v.space
    array = Array(v.name, space, v.itemsize * math.prod(v.shape), v.shape, v.itemsize, False)
    change = r"(?:\s*\[[^=;\]]*\])+\s*(?:(?:[-+*/%&|^]|<<|>>)?=(?!=)|\+\+|--)"
    written = rf"(?:\+\+|--)\s*{v.name}\b|\b{v.name}{change}"
    return array, (value,) if len(v.shape) == 1 else None, bool(re.search(written, row))


def _stopped(done: dict, launch, timeout: float) -> tuple[str, str]:
    """A kernel that took too long: is it endless, or only slow?"""
    blocks, whole = done.get("blocks", 0), launch.blocks
    if done.get("stuck", True):
        text = f"still running after {timeout:g} s of processor time"
        return "infinite-loop", f"{text}; for half of it no thread has come to its end"
    got = f"{blocks:,} of {whole:,} blocks done"
    if blocks == 0:
        ended = launch.threads - done.get("threads_left", 0)
        got = f"{ended} of {launch.threads} threads of the first block done"
    return "timeout", f"stopped after {timeout:g} s of processor time with {got}"
