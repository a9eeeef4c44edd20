"""A table of rows as text, HTML, CSV, markdown, LaTeX and JSON-ready numbers."""

from __future__ import annotations

import csv
import html
import io
import math
import shutil
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich import box
from rich.console import Console
from rich.table import Table as RichTable

if TYPE_CHECKING:
    from cnnlab.cost.table import Row, Summary

_DISPENSABLE = ("flops", "input_size", "input_channels", "type", "dilation", "groups", "filters")
_BARS = {"memory": "#56b4e9", "params": "#e69f00", "macs": "#009e73"}  # distinct for every eye


class Table:
    """Rows with the totals below them; shows itself in a terminal and in a notebook.

    `cnnlab.plotting.cost_bars` draws its memory, parameters and MACs as bar charts.
    """

    def __init__(self, rows: Sequence[Row], summary: Summary):
        self.rows = list(rows)
        self.summary = summary

    def __len__(self) -> int:
        return len(self.rows)

    def __str__(self) -> str:
        """Text table; in a terminal without the columns that its width has no room for."""
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else 10**4
        columns = self._columns()
        text = self._text(columns)
        for key in _DISPENSABLE:
            if max(map(len, text.splitlines()[:-1])) <= width:
                break
            columns = [column for column in columns if column.key != key]
            text = self._text(columns)
        return text

    def _text(self, columns: list[Column]) -> str:
        table = RichTable(box=box.SIMPLE_HEAD, pad_edge=False, title=self._title())
        table.title_justify, table.title_style = "left", ""
        for column in columns:
            table.add_column(column.heading, justify=column.side, no_wrap=True)
        for row in self.rows:
            table.add_row(*(column.show(row) for column in columns))
        stream = io.StringIO()
        options = {"color_system": None, "markup": False, "force_jupyter": False}
        console = Console(file=stream, width=400, **options)
        console.print(table)
        lines = [line.rstrip() for line in stream.getvalue().splitlines()]
        return "\n".join([*lines, *self._footer()])

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        columns = self._columns()
        most = {key: max((getattr(r, key) for r in self.rows), default=0) for key in _BARS}
        head = "".join(
            f"<th style='text-align:{c.side};position:sticky;top:0;padding:2px 9px;"
            f"background:var(--jp-layout-color0,#fff);color:var(--jp-ui-font-color1,#000)'>"
            f"{html.escape(c.heading)}</th>"
            for c in columns
        )
        body = "".join(
            f"<tr>{''.join(_html_cell(column, row, most) for column in columns)}</tr>"
            for row in self.rows
        )
        footer = "".join(f"<div>{html.escape(line)}</div>" for line in self._footer())
        return (
            f"<div><b>{html.escape(self._title())}</b></div>"
            "<div style='max-height:32em;overflow:auto;width:fit-content;max-width:100%'>"
            "<table style='font-variant-numeric:tabular-nums;white-space:nowrap;margin:0'>"
            f"<thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
            f"<div style='font-size:90%'>{footer}</div>"
        )

    def to_dict(self) -> dict:
        """Plain numbers, lists and strings, ready for JSON."""
        summary = self.summary
        totals = (
            "total_params", "trainable_params", "unused_params", "total_macs", "total_flops",
            "total_memory", "total_macs_with_pools", "total_memory_with_pools",
        )  # fmt: skip
        return {
            "model": summary.model_name,
            "input_shape": summary.input_shape,
            "output_shape": summary.output_shape,
            **{name: getattr(summary, name) for name in totals},
            "receptive_field": _plain(summary.receptive_field),
            "not_counted": summary.not_counted,
            "rows": [{c.export: _plain(c.value(row)) for c in COLUMNS} for row in self.rows],
        }

    def to_csv(self, path=None) -> str:
        """Comma-separated rows, written to ``path`` if it is given."""
        stream = io.StringIO()
        writer = csv.writer(stream, lineterminator="\n")
        writer.writerow(column.export for column in COLUMNS)
        for row in self.rows:
            writer.writerow(_joined(column.value(row)) for column in COLUMNS)
        return _write(stream.getvalue(), path)

    def to_markdown(self, path=None) -> str:
        """Markdown table with the totals below it, written to ``path`` if it is given."""
        columns = self._columns()
        lines = [
            "| " + " | ".join(column.heading for column in columns) + " |",
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
        lines += [" & ".join(_tex(column.heading) for column in columns) + r" \\", r"\midrule"]
        lines += [" & ".join(_tex(c.show(row)) for c in columns) + r" \\" for row in self.rows]
        lines += [r"\bottomrule", r"\end{tabular}"]
        lines += [f"% {line}" for line in self._footer()]
        return _write("\n".join([*lines, ""]), path)

    # --- parts --------------------------------------------------------------------------------

    def _columns(self) -> list[Column]:
        """The columns that say something about these rows."""
        return [column for column in COLUMNS if any(map(column.useful, self.rows))]

    def _title(self) -> str:
        summary = self.summary
        mode = "training" if summary.training else "evaluation"
        return f"{summary.model_name}, input {_shapes(summary.input_shape)}, {mode} mode"

    def _footer(self) -> list[str]:
        s = self.summary
        kinds = {row.kind for row in s.rows}
        name = "conv + linear" + (" + matmul" if "matmul" in kinds else "")
        lines = [
            f"{s.total_params:,} parameters, {s.trainable_params:,} trainable"
            + (f", {s.unused_params:,} not used in this forward pass" if s.unused_params else ""),
            f"{name}: {s.total_macs:,} MACs = {s.total_flops:,} FLOPs, "
            f"{_kilobytes(s.total_memory)} KB",
        ]
        if "pool" in kinds:
            lines.append(
                f"with pools: {s.total_macs_with_pools:,} MACs, "
                f"{_kilobytes(s.total_memory_with_pools)} KB"
            )
        if s.receptive_field is not None:
            lines.append(
                f"receptive field (RF) of the last spatial layer: {_pixels(s.receptive_field)}"
            )
        lines.append(
            "1 MAC is a multiplication and an addition, 2 FLOPs; biases, norms, activations and "
            "sums count nothing; a pool counts one MAC for each element of a window. "
            "Memory: each output once, forward only."
        )
        if s.not_counted:
            lines.append(f"NOT COUNTED: the MACs of {', '.join(s.not_counted)} (no rule).")
        return lines


class Column:
    """One column: what it holds, and how it is shown."""

    def __init__(self, key, heading, value: Callable, show: Callable, side="right"):
        self.key, self.heading, self.value, self.side = key, heading, value, side
        self.export = "memory_bytes" if key == "memory" else key
        self._show = show

    def show(self, row: Row) -> str:
        """The cell as text."""
        if self.key in ("macs", "flops") and not row.counted:
            return "not counted"
        value = self.value(row)
        return "" if value is None or value == () else self._show(value)

    def useful(self, row: Row) -> bool:
        """Whether the cell holds more than the default."""
        value = self.value(row)
        if self.key == "groups":
            return value not in (None, 1)
        if self.key == "dilation":
            return value is not None and set(value) != {1}
        return value is not None and value != ()


def _by(sizes: Sequence[int]) -> str:
    """``3×3``."""
    return "×".join(map(str, sizes))


def _short(sizes: Sequence[int]) -> str:
    """``2`` of ``(2, 2)``."""
    return str(sizes[0]) if len(set(sizes)) == 1 else _by(sizes)


def _count(value: int) -> str:
    return f"{value:,}" if value else "0"


def _kilobytes(value: int) -> str:
    return f"{value / 1024:,.2f}".rstrip("0").rstrip(".") if value else "0"


def _pixels(value) -> str:
    if isinstance(value, tuple):
        return _by(value)
    return "all" if value == math.inf else str(value)


def _attribute(name: str) -> Callable:
    return lambda row: getattr(row, name)


COLUMNS = [
    Column("name", "name", _attribute("name"), str, "left"),
    Column("type", "type", _attribute("type"), str, "left"),
    Column("input_channels", "C in", _attribute("input_channels"), str),
    Column("input_size", "H×W in", _attribute("input_size"), _by),
    Column("filters", "filters", _attribute("filters"), str),
    Column("kernel_size", "kernel", _attribute("kernel_size"), _by),
    Column("stride", "stride", _attribute("stride"), _short),
    Column("padding", "pad", _attribute("padding"), _short),
    Column("dilation", "dilation", _attribute("dilation"), _short),
    Column("groups", "groups", _attribute("groups"), str),
    Column("output_channels", "C out", _attribute("output_channels"), str),
    Column("output_size", "H×W out", _attribute("output_size"), _by),
    Column("memory", "KB", _attribute("memory"), _kilobytes),
    Column("params", "params", _attribute("params"), _count),
    Column("macs", "MACs", _attribute("macs"), _count),
    Column("flops", "FLOPs", _attribute("flops"), _count),
    Column("receptive_field", "RF", _attribute("receptive_field"), _pixels),
]


def _html_cell(column: Column, row: Row, most: dict) -> str:
    style = f"text-align:{column.side};padding:2px 9px"
    if column.key in _BARS and most[column.key]:
        end = f"{100 * getattr(row, column.key) / most[column.key]:.1f}%"
        colour = _BARS[column.key]
        style += f";background:linear-gradient(to right,{colour}88 {end},transparent {end})"
    return f"<td style='{style}'>{html.escape(column.show(row))}</td>"


def _shapes(shape) -> str:
    if isinstance(shape, dict):
        return ", ".join(f"{name} {_shapes(value)}" for name, value in shape.items())
    if isinstance(shape, tuple) and all(isinstance(size, int) for size in shape):
        return _by(shape)
    return " and ".join(map(_shapes, shape))


def _plain(value):
    if isinstance(value, tuple):
        return list(value)
    return "all" if value == math.inf else value


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
