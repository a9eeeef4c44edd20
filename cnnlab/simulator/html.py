# ruff: noqa: E501 (style sheet)
"""A report as HTML for a notebook: source line, threads on their block, cell on its array."""

from html import escape

from cnnlab.simulator.findings import Finding

__all__ = ["report_html"]

_STYLE = """
<style>
.cudalab {font-family: system-ui, sans-serif; font-size: 15px; line-height: 1.45; max-width: 58em; color: #1f2328}
.cudalab .head {font-weight: 600; padding: .35em 0}
.cudalab .ok {color: #0b6e4f} .cudalab .bad {color: #a3260b}
.cudalab .finding {border-left: 5px solid #d55e00; background: #fff8f3; padding: .5em .9em; margin: .7em 0}
.cudalab pre {font-size: 14px; background: #f3f4f6; padding: .4em .6em; margin: .4em 0; overflow-x: auto; color: #1f2328}
.cudalab pre b {background: #ffd9bf; font-weight: inherit; display: block}
.cudalab .drawings {display: flex; gap: 2.2em; flex-wrap: wrap; margin-top: .5em}
.cudalab figure {margin: 0} .cudalab figcaption {font-size: 13px; color: #57606a; max-width: 22em}
.cudalab table {border-collapse: collapse; font-size: 14px; margin: .5em 0}
.cudalab td {padding: .1em .9em .1em 0; text-align: left} .cudalab td:last-child {text-align: right}
</style>
"""
_ORANGE, _BLUE, _GREY = "#d55e00", "#0072b2", "#d0d7de"


def report_html(report) -> str:
    """The whole report as one HTML fragment."""
    tone = "ok" if report.ok else "bad"
    head = f'{escape(report.head)}: <span class="{tone}">{report.verdict}</span>'
    show = {"finding": _finding, "table": _table, "printed": _printed}
    parts = [show.get(kind, _line)(what) for kind, what in report.parts()]
    return f'{_STYLE}<div class="cudalab"><div class="head">{head}</div>{"".join(parts)}</div>'


def _line(text: str) -> str:
    return f"<div>{escape(text)}</div>"


def _table(table: dict[str, str]) -> str:
    rows = "".join(f"<tr><td>{escape(k)}</td><td>{v}</td></tr>" for k, v in table.items())
    return f"<table>{rows}</table>"


def _printed(text: str) -> str:
    return f"<div>printf:</div><pre>{escape(text)}</pre>"


def _finding(f: Finding) -> str:
    where = f"line {f.line}: " if f.line else ""
    often = f" ({f.count:,} times)" if f.count > 1 else ""
    return (
        f'<div class="finding"><b>{where}{escape(f.title)}</b>{often}{_excerpt(f)}'
        f"<div>{escape(f.message)}.</div><div>{escape(f.cause)}</div>"
        f'<div class="drawings">{_block(f)}{_array(f)}</div></div>'
    )


def _excerpt(f: Finding) -> str:
    rows = f.source.splitlines()
    if not f.line or f.line > len(rows):
        return ""
    marked = {f.line} | ({f.other_line} if f.other_line else set())
    shown = sorted({n for m in marked for n in (m - 1, m, m + 1) if 1 <= n <= len(rows)})
    text, last = [], shown[0] - 1
    for n in shown:
        gap = "" if n == last + 1 else "  ...\n"
        line = escape(f"{n:4}  {rows[n - 1]}")
        text.append(gap + (f"<b>{line}</b>" if n in marked else line + "\n"))
        last = n
    return f"<pre>{''.join(text)}</pre>"


def _figure(body: list[str], box: tuple[float, ...], width: int, label: str, caption: str) -> str:
    x, y, w, h = box
    height, label = max(24, min(round(width * h / w), 260)), escape(label)
    return (
        f'<figure><svg role="img" aria-label="{label}" width="{width}" height="{height}" '
        f'viewBox="{x:g} {y:g} {w:g} {h:g}"><title>{label}</title>{"".join(body)}</svg>'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def _rect(x, y, w, h, fill, extra="") -> str:
    return f'<rect x="{x:g}" y="{y:g}" width="{w:g}" height="{h:g}" fill="{fill}" {extra}/>'


def _block(f: Finding) -> str:
    """The threads of the first offending block; the other side of a race is blue."""
    if not (rows := f.plane()):
        return ""
    fills = {0: _GREY, 1: _ORANGE, 2: _BLUE}
    cells = [
        _rect(x, y, 0.86, 0.86, fills[mark])
        for y, row in enumerate(rows)
        for x, mark in enumerate(row)
    ]
    marks, columns = [mark for row in rows for mark in row], len(rows[0])
    label = f"{marks.count(1)} of {len(marks)} threads offend"
    label += ", the other one in blue" * (2 in marks)
    box = (-0.1, -0.1, columns + 0.1, len(rows) + 0.1)
    layer = f" (threadIdx.z = {f.thread[2]})" * (f.block_shape[2] > 1)
    caption = f"block {f.block}: {label}{layer}"
    return _figure(cells, box, min(22 * columns, 300), label, caption)


def _array(f: Finding) -> str:
    """The element on its array; outside of the frame where it is out of bounds."""
    if f.array is None or (f.element is None and not f.index):
        return ""
    if f.index and len(f.index) >= 2:
        (rows, columns), (*planes, row, column) = f.array.shape[-2:], f.index
    else:  # a long vector is folded
        columns, planes = min(max(f.length, 1), 64), []
        rows = max(-(-f.length // columns), 1)
        at = f.index[0] if f.index else f.element
        row, column = divmod(at, columns) if rows > 1 else (0, at)
    if abs(row) > 3 * rows + 8 or abs(column) > 3 * columns + 8:
        return ""
    x, y = min(0, column), min(0, row)
    width, height = max(columns, column + 1) - x, max(rows, row + 1) - y
    pad, line = 0.05 * max(width, height) + 0.2, max(width, height) / 200
    body = [_rect(0, 0, columns, rows, "#ffffff", f'stroke="#57606a" stroke-width="{line:g}"')]
    if rows <= 40 and columns <= 64:
        cells = [(c, r) for r in range(rows) for c in range(columns)]
        body += [_rect(c + 0.07, r + 0.07, 0.86, 0.86, "#e8ecf0") for c, r in cells]
    if f.kind == "unwritten" and not planes:
        unit = f.cell / (f.array.itemsize or f.cell)
        for start, length in f.runs:  # row by row
            first, end = int(start * unit), int((start + length) * unit)
            while first < end:
                r, c = divmod(first, columns)
                step = min(end - first, columns - c)
                body.append(_rect(c, r, step, 1, _ORANGE, 'opacity="0.75"'))
                first += step
    side = max(1, 6 * line)  # large enough to be seen on a large array
    middle = (1 - side) / 2
    body.append(_rect(column + middle, row + middle, side, side, _ORANGE))
    label = f"{f.place}{f', plane {tuple(planes)}' if planes else ''}"
    box = (x - pad, y - pad, width + 2 * pad, height + 2 * pad)
    return _figure(body, box, 260 if columns > 8 else 140, label, label)
