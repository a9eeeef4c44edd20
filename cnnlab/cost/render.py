"""A table of rows as text, HTML, CSV, markdown, LaTeX and JSON-ready numbers."""

from __future__ import annotations

import csv
import difflib
import html
import io
import math
import shutil
import sys
import textwrap
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cnnlab.cost.table import Row, Summary

# What a narrow page goes without, in this order.
_DISPENSABLE = (
    "filters", "flops", "input_size", "input_channels", "dilation", "groups", "padding", "stride",
    "kernel_size", "memory", "trainable", "type",
)  # fmt: skip
_PAGE = 112  # characters of a table in a notebook
_BARS = {"memory": "#56b4e9", "params": "#e69f00", "macs": "#009e73"}  # distinct for every eye


class Table:
    """Rows with the totals below them; shows itself in a terminal and in a notebook.

    `cnnlab.plotting.cost_bars` draws its memory, parameters and MACs as bar charts.
    """

    chosen: Sequence[Column] = ()

    def __init__(self, rows: Sequence[Row], summary: Summary, columns: Sequence[Column] = ()):
        self.rows = list(rows)
        self.summary = summary
        self.chosen = columns

    def __len__(self) -> int:
        return len(self.rows)

    def text(self, width: int | None = None, *, columns=None, units: bool = False) -> str:
        """The table as text.

        Parameters
        ----------
        width : int, optional
            Characters of a line: what can be left out is, and long names are shortened.
        columns : list of str, optional
            Which columns, such as ``["name", "params", "macs"]``; default: all that say something.
        units : bool
            ``3.9 M`` and ``12.5 MB`` in the place of whole numbers.
        """
        chosen = [column(key) for key in columns] if columns else self._columns()
        cells = {c.key: [c.show(row, units) for row in self.rows] for c in chosen}
        headings = {c.key: c.heading(units) for c in chosen}
        widths = {k: max(map(len, [headings[k], *cells[k]])) for k in cells}
        room = width or 10**9
        longest = widths.get("name", 0)
        if longest and sum(widths.values()) + 2 * len(widths) - 2 > room:
            widths["name"] = min(longest, max(20, room * 2 // 5))
        for key in () if columns else _DISPENSABLE:
            if sum(widths.values()) + 2 * len(widths) - 2 <= room:
                break
            widths.pop(key, None)
        if longest:
            spare = room - sum(widths.values()) - 2 * len(widths) + 2
            widths["name"] = min(longest, max(widths["name"] + spare, 8))
            cells["name"] = [_shortened(name, widths["name"]) for name in cells["name"]]
        shown = [c for c in chosen if c.key in widths]
        lines = []
        for c in shown:
            n = widths[c.key]
            just = str.ljust if c.side == "left" else str.rjust
            lines.append([just(cell, n) for cell in (headings[c.key], "─" * n, *cells[c.key])])
        body = [
            ("──" if i == 1 else "  ").join(line).rstrip()
            for i, line in enumerate(zip(*lines, strict=True))
        ]
        footer = self._footer()
        if width:
            footer = [part for line in footer for part in textwrap.wrap(line, width) or [""]]
        return "\n".join([_shortened(self._title(), width), "", *body, "", *footer])

    def __str__(self) -> str:
        """Text table; in a terminal without the columns that its width has no room for."""
        return self.text(page())

    def __repr__(self) -> str:
        return str(self)

    def sorted(self, key: str = "macs", count: int | None = None) -> Table:
        """The rows with the most of a column first, ``"macs"``, ``"params"``, ``"memory"``."""
        one = column(key)
        rows = sorted(self.rows, key=lambda row: order(one.value(row)), reverse=True)
        return Table(rows[:count], self.summary, self.chosen)

    def _repr_html_(self) -> str:
        columns = self._columns()
        for key in _DISPENSABLE:
            if self._page_width(columns) <= _PAGE:
                break
            columns = [c for c in columns if c.key != key]
        most = {key: max((getattr(r, key) for r in self.rows), default=0) for key in _BARS}
        left = ",".join(
            f".cnnlab-cost :is(td,th):nth-child({i})"
            for i, c in enumerate(columns, 1)
            if c.side == "left"
        )
        tint = "".join(
            f".cnnlab-cost td:nth-child({i}){{background:linear-gradient(to right,"
            f"{_BARS[c.key]}88 var(--w,0),transparent var(--w,0))}}"
            for i, c in enumerate(columns, 1)
            if c.key in _BARS
        )
        page = "background:var(--jp-layout-color0,#fff);color:var(--jp-ui-font-color1,#000)"
        style = (
            ".cnnlab-cost{max-height:32em;overflow:auto;width:fit-content;max-width:100%}"
            ".cnnlab-cost table{font-size:12px;font-variant-numeric:tabular-nums;margin:0;"
            "white-space:nowrap;border-collapse:separate;border-spacing:0}"
            ".cnnlab-cost :is(td,th){padding:2px 6px;text-align:right}"
            f"{left}{{text-align:left}}"
            f".cnnlab-cost th{{position:sticky;top:0;z-index:2;{page}}}"
            f".cnnlab-cost :is(td,th):first-child{{position:sticky;left:0;{page}}}"
            ".cnnlab-cost th:first-child{z-index:3}" + tint
        )
        head = "".join(f"<th>{html.escape(c.heading(False))}" for c in columns)
        body = "".join(
            f"<tr>{''.join([_html_cell(c, row, most) for c in columns])}\n" for row in self.rows
        )
        footer = "".join(f"<div>{html.escape(line)}</div>" for line in self._footer())
        return (
            f"<style>{style}</style><div><b>{html.escape(self._title())}</b></div>"
            f"<div class=cnnlab-cost><table><thead><tr>{head}</thead><tbody>{body}</tbody></table>"
            f"</div><div style='font-size:90%'>{footer}</div>"
        )

    def _page_width(self, columns) -> int:
        return sum(
            max([len(c.heading(False)), *(len(c.show(row)) for row in self.rows)]) + 2
            for c in columns
        )

    def to_dict(self) -> dict:
        """Plain numbers, lists and strings, ready for JSON."""
        summary = self.summary
        totals = (
            "total_params", "trainable_params", "unused_params", "total_macs", "total_flops",
            "backward_flops", "total_memory", "total_macs_with_pools", "total_memory_with_pools",
            "not_counted", "with_values", "complete",
        )  # fmt: skip
        return {
            "model": summary.model_name,
            "input_shape": _plain(summary.input_shape),
            "output_shape": _plain(summary.output_shape),
            **{name: getattr(summary, name) for name in totals},
            "forward_memory": summary.forward_memory(),
            "training_memory": summary.training_memory(),
            "receptive_field": _plain(summary.receptive_field),
            "rows": [{c.export: _plain(c.value(row)) for c in _EXPORTED} for row in self.rows],
        }

    def to_csv(self, path=None) -> str:
        """Comma-separated rows, written to ``path`` if it is given."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(column.export for column in _EXPORTED)
        for row in self.rows:
            writer.writerow(_joined(column.value(row)) for column in _EXPORTED)
        return _write(stream.getvalue(), path)

    def to_markdown(self, path=None) -> str:
        """Markdown table with the totals below it, written to ``path`` if it is given."""
        columns = self._columns()
        lines = [
            "| " + " | ".join(column.heading() for column in columns) + " |",
            "|" + "|".join("--:" if c.side == "right" else ":--" for c in columns) + "|",
        ]
        for row in self.rows:
            cells = (column.show(row).replace("|", "\\|") for column in columns)
            lines.append("| " + " | ".join(cells) + " |")
        return _write("\n".join([*lines, "", *(f"{line}  " for line in self._footer()), ""]), path)

    def to_latex(self, path=None) -> str:
        """LaTeX tabular (package booktabs), written to ``path`` if it is given."""
        columns = self._columns()
        sides = "".join("r" if column.side == "right" else "l" for column in columns)
        lines = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule"]
        lines += [" & ".join(_tex(column.heading()) for column in columns) + r" \\", r"\midrule"]
        lines += [" & ".join(_tex(c.show(row)) for c in columns) + r" \\" for row in self.rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [f"% {line}" for line in self._footer()]
        return _write("\n".join([*lines, ""]), path)

    # --- parts --------------------------------------------------------------------------------

    def _columns(self) -> list[Column]:
        """The columns that say something about these rows."""
        return self.chosen or [c for c in COLUMNS if any(map(c.useful, self.rows))]

    def _title(self) -> str:
        summary = self.summary
        mode = "training" if summary.training else "evaluation"
        return f"{summary.model_name}, input {_shapes(summary.input_shape)}, {mode} mode"

    def _footer(self) -> list[str]:
        s = self.summary
        kinds = {op.record.kind for op in s._ops}
        name = "conv + linear" + (" + matmul" if "matmul" in kinds else "")
        unused = s.unused_params if s.complete else 0
        lines = [
            f"{s.total_params:,} parameters, {s.trainable_params:,} trainable"
            + (f", {unused:,} not used in this forward pass" if unused else ""),
            f"{name}: {s.total_macs:,} MACs = {s.total_flops:,} FLOPs, "
            f"{_kilobytes(s.total_memory)} KB",
        ]
        if "pool" in kinds:
            lines.append(
                f"with pools: {s.total_macs_with_pools:,} MACs, "
                f"{_kilobytes(s.total_memory_with_pools)} KB"
            )
        lines += _fields(s.receptive_field)
        lines.append(
            "1 MAC is a multiplication and an addition, 2 FLOPs; biases, norms, activations and "
            "sums count nothing; a pool counts one MAC for each element of a window. "
            "Memory: each output once, forward only."
        )
        if s.not_counted:
            lines.append(f"NOT COUNTED: the MACs of {', '.join(s.not_counted)} (no rule).")
        if s.with_values:
            lines.append(f"RUN WITH VALUES: the shapes are those of this run ({s.with_values}).")
        if not s.complete:
            lines.append("INCOMPLETE: only up to the operation that failed.")
        return lines


class Column:
    """One column: where its value comes from and how it is written."""

    def __init__(self, key, heading, show: Callable, side="right", unit="", value=None):
        self.key, self._heading, self.side, self.unit = key, heading, side, unit
        self.export = "memory_bytes" if key == "memory" else key
        self._show, self._value = show, value

    def value(self, row: Row):
        if self._value is not None:
            return self._value(row)
        if self.key in ("macs", "flops") and not row.counted:
            return None
        return getattr(row, self.key)

    def heading(self, units: bool = False) -> str:
        return "memory" if units and self.key == "memory" else self._heading

    def show(self, row: Row, units: bool = False) -> str:
        """The cell as text."""
        value = self.value(row)
        if value is None or value == ():
            return "not counted" if self.key in ("macs", "flops") else ""
        if units and self.unit:
            return human(value, self.unit)
        return self._show(value)

    def useful(self, row: Row) -> bool:
        """Whether the cell holds more than the default."""
        value = self.value(row)
        if self.key == "groups":
            return value not in (None, 1)
        if self.key == "dilation":
            return value is not None and set(value) != {1}
        return value is not None and value != ()


def page() -> int | None:
    """Characters that a line of the terminal has room for; None where text goes elsewhere.

    A file, a pipe and a notebook get every column, whatever COLUMNS says.
    """
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def column(key: str) -> Column:
    """The column of this name."""
    for one in (*_EXPORTED, *TREE):
        if key in (one.key, one._heading):
            return one
    known = [one.key for one in _EXPORTED]
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f": did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    raise ValueError(f"no column is called {key!r}{hint}")


def order(value):
    """What to sort by: nothing comes before everything."""
    if isinstance(value, tuple):
        return (1, math.prod(value), "")
    return (
        (0, 0, "") if value is None else (1, 0, value) if isinstance(value, str) else (1, value, "")
    )


def human(value: float, unit: str) -> str:
    """``3.86 G``, ``97.5 MB``: three digits and a unit."""
    step, names = (1024, ("", "K", "M", "G", "T", "P")) if unit == "B" else (
        1000, ("", "k", "M", "G", "T", "P")
    )  # fmt: skip
    for name in names:
        if abs(value) < 999.5 or name == "P":
            digits = f"{value:.3g}" if isinstance(value, float) or name else str(value)
            return f"{digits} {name}{unit if unit == 'B' else ''}".rstrip()
        value = value / step
    raise AssertionError


def by(sizes: Sequence[int]) -> str:
    """``3×3``."""
    return "×".join(map(str, sizes))


def _short(sizes: Sequence[int]) -> str:
    """``2`` of ``(2, 2)``."""
    return str(sizes[0]) if len(set(sizes)) == 1 else by(sizes)


def _count(value: int) -> str:
    return f"{value:,}" if value else "0"


def _kilobytes(value: int) -> str:
    return f"{value / 1024:,.2f}".rstrip("0").rstrip(".") if value else "0"


def _pixels(value) -> str:
    if isinstance(value, (tuple, list)):
        return by(value)
    return "all" if value == math.inf else str(value)


def _fields(field) -> list[str]:
    """The line about the receptive field, or fields."""
    if isinstance(field, dict):
        seen = [f"{key} {_pixels(value)}" for key, value in field.items() if _is_field(value)]
    elif isinstance(field, (tuple, list)) and not all(type(n) is int for n in field):
        seen = [_pixels(value) for value in field if _is_field(value)]
    else:
        text = "receptive field (RF) of the last spatial layer"
        return [] if field is None else [f"{text}: {_pixels(field)}"]
    return [f"receptive fields (RF) of the outputs: {', '.join(seen)}"] if seen else []


def _is_field(value) -> bool:
    return isinstance(value, (int, float)) or (isinstance(value, tuple) and value
                                               and all(type(n) is int for n in value))  # fmt: skip


def _share(value: float) -> str:
    return f"{value:.1%}"


def _shortened(name: str, room: int | None) -> str:
    return name if room is None or len(name) <= room else "…" + name[len(name) - room + 1 :]


COLUMNS = [
    Column("name", "name", str, "left"),
    Column("type", "type", str, "left"),
    Column("input_channels", "C in", str),
    Column("input_size", "H×W in", by),
    Column("filters", "filters", str),
    Column("kernel_size", "kernel", by),
    Column("stride", "stride", _short),
    Column("padding", "pad", _short),
    Column("dilation", "dilation", _short),
    Column("groups", "groups", str),
    Column("output_channels", "C out", str),
    Column("output_size", "H×W out", by),
    Column("memory", "KB", _kilobytes, unit="B"),
    Column("params", "params", _count, unit="1"),
    Column("macs", "MACs", _count, unit="1"),
    Column("flops", "FLOPs", _count, unit="1"),
    Column("receptive_field", "RF", _pixels),
]
TREE = [
    Column("name", "module", str, "left", value=lambda row: "  " * row.depth + row.name),
    Column("type", "class", str, "left"),
    Column("output_shape", "output", by),
    Column("params", "params", _count, unit="1"),
    Column("trainable", "trainable", _count, unit="1"),
    Column("memory", "KB", _kilobytes, unit="B"),
    Column("macs", "MACs", _count, unit="1"),
    Column("share", "share", _share, value=lambda row: row.share),
]
_EXPORTED = [
    *COLUMNS,
    Column("kind", "kind", str, "left"),
    Column("trainable", "trainable", _count, unit="1"),
    Column("counted", "counted", str),
    Column("operations", "operations", str),
]


def _html_cell(column: Column, row: Row, most: dict) -> str:
    text = html.escape(column.show(row))
    if column.key in _BARS and most[column.key]:
        end = round(100 * getattr(row, column.key) / most[column.key])
        if end:
            return f"<td style=--w:{end}%>{text}"
    return f"<td>{text}"


def _shapes(shape) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shapes(value)}" for name, value in shape.items())
    if isinstance(shape, (tuple, list)) and shape:
        if isinstance(shape, tuple) and all(type(size) is int for size in shape):
            return by(shape)
        return " and ".join(map(_shapes, shape))
    return str(shape)


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return "all" if value == math.inf else value if isinstance(value, float) else str(value)


def _joined(value) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return "" if value is None else str(_plain(value))


def _tex(text: str) -> str:
    for symbol in "_#%&$":
        text = text.replace(symbol, f"\\{symbol}")
    return text.replace("×", r"$\times$")


def _write(text: str, path) -> str:
    if path is not None:
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
    return text
