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
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from cnnlab.tracing.inputs import is_whole

if TYPE_CHECKING:
    from cnnlab.cost.table import Row, Summary

# What a narrow page goes without, in this order.
_DISPENSABLE = (
    "filters", "flops", "input_size", "input_channels", "dilation", "groups", "padding", "stride",
    "kernel_size", "memory", "trainable", "type",
)  # fmt: skip
_PAGE = 112  # characters of a table in a notebook
_BARS = {"memory": "#56b4e9", "params": "#e69f00", "macs": "#009e73"}  # distinct for every eye
_PAPER = "background:var(--jp-layout-color0,#fff);color:var(--jp-ui-font-color1,#000)"
_STYLE = (
    ".cnnlab-cost{max-height:32em;overflow:auto;width:fit-content;max-width:100%}"
    ".cnnlab-cost table{font-size:12px;font-variant-numeric:tabular-nums;margin:0;"
    "white-space:nowrap;border-collapse:separate;border-spacing:0}"
    ".cnnlab-cost :is(td,th){padding:2px 6px;text-align:right}"
    "LEFT{text-align:left}"
    f".cnnlab-cost th{{position:sticky;top:0;z-index:2;{_PAPER}}}"
    f".cnnlab-cost :is(td,th):first-child{{position:sticky;left:0;{_PAPER}}}"
    ".cnnlab-cost th:first-child{z-index:3}"
)


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
        columns : list of str, or str with commas, optional
            Which columns, such as ``["name", "params", "macs"]``; default: all that say something.
        units : bool
            ``3.9 M`` and ``12.5 MB`` in the place of whole numbers.
        """
        if width is not None and (not is_whole(width) or width < 1):
            raise ValueError(f"width must be a positive whole number, got {width!r}")
        if isinstance(columns, str):
            columns = [key.strip() for key in columns.split(",")]
        if not isinstance(columns, (list, tuple, type(None))):
            raise TypeError(f"columns must be a list of names, got {columns!r}")
        chosen = [column(key) for key in columns] if columns else self._columns()
        if not self.rows:
            return "\n".join([self._title(), "", "no operations", "", *self._footer()])
        cells = {c.key: [c.heading(units), *(c.show(r, units) for r in self.rows)] for c in chosen}
        widths = {key: max(map(len, column)) for key, column in cells.items()}
        longest = widths.get("name", 0)

        def over() -> int:
            return sum(widths.values()) + 2 * len(widths) - 2 - (width or math.inf)

        if longest and over() > 0:
            widths["name"] = min(longest, max(20, width * 2 // 5))
        for key in () if columns else _DISPENSABLE:
            if key == "type" and longest and over() > 0:
                widths["name"] = min(longest, max(20, width // 3))
            if over() > 0:
                widths.pop(key, None)
        if longest:
            widths["name"] = room = int(min(longest, max(widths["name"] - over(), 8)))
            cells["name"] = [_shortened(name, room) for name in cells["name"]]
        lines = []
        for c in chosen:
            if c.key in widths:
                n, (heading, *column_) = widths[c.key], cells[c.key]
                just = str.ljust if c.side == "left" else str.rjust
                lines.append([just(cell, n) for cell in (heading, "─" * n, *column_)])
        body = ["  ".join(line).rstrip() for line in zip(*lines, strict=True)]
        body[1] = body[1].replace(" ", "─")
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
        if count is not None and not is_whole(count):
            raise ValueError(f"count must be a whole number, got {count!r}")
        value = column(key).value
        rows = sorted(self.rows, key=lambda row: _order(value(row)), reverse=True)
        return Table(rows[:count], self.summary, self.chosen)

    def _repr_html_(self) -> str:
        columns = self._columns()
        cells = {c.key: [c.show(row) for row in self.rows] for c in columns}
        widths = {c.key: max(map(len, [c.heading(), *cells[c.key]])) + 2 for c in columns}
        for key in _DISPENSABLE:
            if sum(widths.values()) > _PAGE:
                widths.pop(key, None)
        columns = [c for c in columns if c.key in widths]
        columns = list(enumerate(columns, 1))
        left = [f".cnnlab-cost :is(td,th):nth-child({i})" for i, c in columns if c.side == "left"]
        style, shown = _STYLE.replace("LEFT", ",".join(left)), []
        for place, c in columns:
            texts, ends = map(html.escape, cells[c.key]), [0] * len(self.rows)
            if c.key in _BARS:
                fill = f"{_BARS[c.key]}88 var(--w,0),transparent var(--w,0)"
                style += f".cnnlab-cost td:nth-child({place})"
                style += f"{{background:linear-gradient(to right,{fill})}}"
                values = [getattr(row, c.key) for row in self.rows]
                most = max(values, default=0) or 1
                ends = [round(100 * value / most) for value in values]
            shown.append([
                f"<td style=--w:{end}%>{text}" if end else f"<td>{text}"
                for text, end in zip(texts, ends, strict=True)
            ])  # fmt: skip
        head = "".join(f"<th>{html.escape(c.heading())}" for _, c in columns)
        body = "".join(f"<tr>{''.join(line)}\n" for line in zip(*shown, strict=True))
        footer = "".join(f"<div>{html.escape(line)}</div>" for line in self._footer())
        return (
            f"<style>{style}</style><div><b>{html.escape(self._title())}</b></div>"
            f"<div class=cnnlab-cost><table><thead><tr>{head}</thead><tbody>{body}</tbody></table>"
            f"</div><div style='font-size:90%'>{footer}</div>"
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
        sides = ["--:" if column.side == "right" else ":--" for column in self._columns()]
        lines = [" | ".join(cell.replace("|", "\\|") for cell in line) for line in self._grid()]
        table = [f"| {line} |" for line in lines]
        table.insert(1, f"|{'|'.join(sides)}|")
        return _write("\n".join([*table, "", *(f"{line}  " for line in self._footer()), ""]), path)

    def to_latex(self, path=None) -> str:
        """LaTeX tabular (package booktabs), written to ``path`` if it is given."""
        table = [" & ".join(map(_tex, line)) + r" \\" for line in self._grid()]
        sides = "".join(column.side[0] for column in self._columns())
        table = [rf"\begin{{tabular}}{{{sides}}}", r"\toprule", table[0], r"\midrule", *table[1:]]
        footer = [f"% {line}" for line in self._footer()]
        return _write("\n".join([*table, r"\bottomrule", r"\end{tabular}", *footer, ""]), path)

    def _columns(self) -> list[Column]:
        """The columns that say something about these rows."""
        return self.chosen or [c for c in COLUMNS if any(map(c.useful, self.rows))]

    def _grid(self) -> list[list[str]]:
        """The headings, and the cells of each row."""
        columns = self._columns()
        headings = [column.heading() for column in columns]
        return [headings, *([column.show(row) for column in columns] for row in self.rows)]

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
            kilobytes = _kilobytes(s.total_memory_with_pools)
            lines.append(f"with pools: {s.total_macs_with_pools:,} MACs, {kilobytes} KB")
        lines += _fields(s.receptive_field, s.lost_field)
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


class Column(NamedTuple):
    """One column: a row's attribute, or ``take`` of the row, and how it is written."""

    key: str
    title: str
    write: Callable = str
    side: str = "right"
    unit: str = ""
    take: Callable | None = None

    @property
    def export(self) -> str:
        return "memory_bytes" if self.key == "memory" else self.key

    def value(self, row: Row):
        if self.take is not None:
            return self.take(row)
        if self.key in ("macs", "flops") and not row.counted:
            return None
        return getattr(row, self.key)

    def heading(self, units: bool = False) -> str:
        return "memory" if units and self.key == "memory" else self.title

    def show(self, row: Row, units: bool = False) -> str:
        """The cell as text."""
        value = self.value(row)
        if value is None or value == ():
            return "not counted" if self.key in ("macs", "flops") else ""
        return human(value, self.unit) if units and self.unit else self.write(value)

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
        if key in (one.key, one.title):
            return one
    known = [one.key for one in _EXPORTED]
    near = difflib.get_close_matches(str(key), known, n=1)
    hint = f": did you mean {near[0]}?" if near else f"; there are {', '.join(known)}"
    raise ValueError(f"no column is called {key!r}{hint}")


def _order(value) -> tuple:
    """What to sort by: nothing comes before everything."""
    if value is None:
        return False, 0
    return True, math.prod(value) if isinstance(value, tuple) else value


def human(value: float, unit: str) -> str:
    """``3.86 G``, ``97.5 MB``: three digits and a unit."""
    step, names = (1024, ("", "K", "M", "G", "T", "P")) if unit == "B" else (
        1000, ("", "k", "M", "G", "T", "P")
    )  # fmt: skip
    place = 0
    while abs(value) >= 999.5 and place < 5:
        value, place = value / step, place + 1
    digits = f"{value:.3g}" if place else str(value)
    return f"{digits} {names[place]}{unit if unit == 'B' else ''}".rstrip()


def by(sizes: Sequence[int]) -> str:
    """``3×3``."""
    return "×".join(map(str, sizes))


def short(sizes: Sequence[int]) -> str:
    """``2`` of ``(2, 2)``."""
    return str(sizes[0]) if len(set(sizes)) == 1 else by(sizes)


def pixels(value) -> str:
    """A receptive field."""
    if isinstance(value, (tuple, list)):
        return by(value)
    return "all" if value == math.inf else str(value)


def _count(value: int) -> str:
    return f"{value:,}"


def _kilobytes(value: int) -> str:
    return f"{value / 1024:,.2f}".rstrip("0").rstrip(".") if value else "0"


def _fields(field, lost: str | None) -> list[str]:
    """The line about the receptive field, or fields."""
    if field is None and lost:
        return [f"receptive field (RF): not known after {lost}"]
    if _is_field(field):
        return [f"receptive field (RF) of the last spatial layer: {pixels(field)}"]
    if isinstance(field, dict):
        seen = [f"{key} {pixels(value)}" for key, value in field.items() if _is_field(value)]
    else:
        seen = [pixels(value) for value in field or () if _is_field(value)]
    return [f"receptive fields (RF) of the outputs: {', '.join(seen)}"] if seen else []


def _is_field(value) -> bool:
    if isinstance(value, tuple):
        return bool(value) and all(type(n) is int for n in value)
    return isinstance(value, (int, float))


def _shortened(name: str, room: int | None) -> str:
    return name if room is None or len(name) <= room else "…" + name[len(name) - room + 1 :]


COLUMNS = [
    Column("name", "name", str, "left"),
    Column("type", "type", str, "left"),
    Column("input_channels", "C in"),
    Column("input_size", "H×W in", by),
    Column("filters", "filters"),
    Column("kernel_size", "kernel", by),
    Column("stride", "stride", short),
    Column("padding", "pad", short),
    Column("dilation", "dilation", short),
    Column("groups", "groups"),
    Column("output_channels", "C out"),
    Column("output_size", "H×W out", by),
    Column("memory", "KB", _kilobytes, unit="B"),
    Column("params", "params", _count, unit="1"),
    Column("macs", "MACs", _count, unit="1"),
    Column("flops", "FLOPs", _count, unit="1"),
    Column("receptive_field", "RF", pixels),
]
_BY_KEY = {column.key: column for column in COLUMNS}
_TRAINABLE = Column("trainable", "trainable", _count, unit="1")
_EXPORTED = [
    *COLUMNS, Column("kind", "kind", str, "left"), _TRAINABLE, Column("counted", "counted"),
    Column("operations", "operations"),
]  # fmt: skip
TREE = [
    Column("name", "module", str, "left", take=lambda row: "  " * row.depth + row.name),
    Column("type", "class", str, "left"),
    Column("output_shape", "output", by),
    _BY_KEY["params"], _TRAINABLE, _BY_KEY["memory"], _BY_KEY["macs"],
    Column("share", "share", "{:.1%}".format),
]  # fmt: skip


def _shapes(shape) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shapes(value)}" for name, value in shape.items())
    if isinstance(shape, (tuple, list)) and shape:
        one = isinstance(shape, tuple) and all(type(size) is int for size in shape)
        return by(shape) if one else " and ".join(map(_shapes, shape))
    return str(shape)


def _plain(value):
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [_plain(item) for item in value]
    if value == math.inf:
        return "all"
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


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
        Path(path).write_text(text, encoding="utf-8")
    return text
