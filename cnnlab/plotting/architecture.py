"""The architecture of any network, drawn from one pass through it."""

import math
from collections import Counter
from dataclasses import dataclass
from itertools import groupby

from matplotlib.axes import Axes
from matplotlib.patches import Circle, FancyBboxPatch, Polygon, Rectangle
from torch import nn

from cnnlab.cost import summary
from cnnlab.plotting.network_graph import Node, columns, graph, sections
from cnnlab.plotting.picture import Picture
from cnnlab.plotting.style import COLOURS, INK, new_figure, style

__all__ = ["architecture"]

_FILLS = {
    "input": "#EEEEEE",
    "conv": "#8EC9EE",
    "linear": "#85D1B8",
    "matmul": "#85D1B8",
    "pool": "#F5CC7A",
    "add": "#FFFFFF",
    "elementwise": "#FFFFFF",
    "concat": "#E3B8D2",
}
_OTHER = "#DDDDDD"
_STRIPS = {"norm": COLOURS["purple"], "activation": COLOURS["vermillion"]}
_SYMBOLS = {"add": "+", "iadd": "+", "mul": "×", "sub": "−"}
_NAMES = {"conv": "convolution", "linear": "linear", "pool": "pooling", "concat": "concatenation"}
_LONGEST_CHAIN = 26  # layers of a network that is drawn to scale

# inches
_WIDEST = 12.6  # of the drawing
_MARGIN, _LANE, _ARC = 0.3, 0.66, 0.16
_BOX, _CIRCLE, _STRIP = (0.78, 0.5), 0.34, 0.055
_TALL, _LOW, _SLANT = 1.7, 0.22, 0.3  # largest and smallest height of a block drawn to scale
_CAPTION, _ROW_GAP = 0.3, 0.22
_SMALL, _LETTER = 12, 0.098  # points, and how wide a letter is


@style()
def architecture(model: nn.Module, input_size, title: str = "") -> Picture:
    """Draw a network's architecture from the model itself.

    The model is followed once with shapes alone (`cnnlab.summary`), in the mode it is in. Layers
    are boxes and data runs along the arrows: branches lie below each other, a shortcut runs above
    what it skips. Norms and activations are strips at the edge of the layer they belong to;
    tinted bands gather what works at one resolution. A chain of few layers is drawn to scale; a
    deep network is drawn compactly, and of neighbouring blocks that are built alike the first
    with their number. Give a part to see a part: ``architecture(net.layer1[0], (64, 56, 56))``.

    Parameters
    ----------
    model : nn.Module
        On any device, meta included: nothing is computed.
    input_size
        ``(C, H, W)`` without the batch, or whatever `cnnlab.summary` takes.
    title : str
        Above the picture; default: the model's class.

    Raises
    ------
    CostError
        A ValueError, if the model does not take this input.
    """
    costs = summary(model, input_size)
    title = f"{title or costs.model_name}, input {_by(costs)}"
    drawing = _Drawing(graph(model, costs))
    return Picture.from_figure(drawing.figure(title), _in_words(title, drawing))


def _by(costs) -> str:
    shape = costs.input_shape
    shape = next(iter(shape.values())) if isinstance(shape, dict) else shape
    shape = shape[0] if isinstance(shape, list) else shape
    return "×".join(map(str, shape[1:]))


@dataclass
class _Place:
    """Where a node stands: row of the drawing, column of the row, lane; and in inches."""

    row: int
    column: int
    lane: float
    width: float
    height: float
    x: float = 0
    y: float = 0


class _Drawing:
    """Nodes laid out in rows and columns, parallel paths in lanes."""

    def __init__(self, nodes: list[Node]):
        self.nodes = nodes
        self.sections = sections(nodes)
        self.section_of = {
            node: section for section in self.sections for node in range(section[0], section[1] + 1)
        }
        is_folded = any(node.repeats > 1 for node in nodes)
        self.to_scale = not (self.sections or is_folded) and len(nodes) <= _LONGEST_CHAIN
        self.cell = 0.98 if self.to_scale else 1.06
        self.steps = columns(nodes, self.sections)
        self.places = self._placed()
        self.rows = [
            [place for place in self.places if place.row == row]
            for row in range(max(place.row for place in self.places) + 1)
        ]
        self.arcs = {row: self._arcs(row) for row in range(len(self.rows))}
        self.frames = self._frames()
        self.extents: list[tuple[float, float]] = []  # top and bottom of each row's band
        self.height = self._measure()
        self.width = max(place.x for place in self.places) + self.cell / 2 + _MARGIN

    # --- where everything stands --------------------------------------------------------------

    def _placed(self) -> list[_Place]:
        lanes = [0.0] * len(self.nodes)
        for first, last in self.sections:
            self._assign_lanes(lanes, first, last)
        starts = self._row_starts()
        places = []
        for node, step, lane in zip(self.nodes, self.steps, lanes, strict=True):
            row = max(index for index, start in enumerate(starts) if start <= step)
            places.append(_Place(row, step - starts[row], lane, *self._block(node)))
        return places

    def _assign_lanes(self, lanes: list[float], first: int, last: int) -> None:
        """Give parallel paths of a section lanes of their own, in the order of the pass."""
        taken: list[tuple[int, int, int, int]] = []  # lane, from column, to column, by whom
        chosen: dict[int, int] = {}
        ahead: dict[int, set[int]] = {}  # nodes in the same lane that lead to a node, and itself

        def is_free(lane, start, end, guests):
            return all(
                lane != other or owner in guests or end < left or right < start
                for other, left, right, owner in taken
            )

        for node in range(first, last):
            step, sources = self.steps[node], self.nodes[node].sources
            start = max((self.steps[source] + 1 for source in sources), default=step)
            wanted = sorted({chosen[source] for source in sources if source in chosen})
            leading = {n for source in sources if source in ahead for n in ahead[source]}
            options = [(lane, leading) for lane in wanted]
            options += [(lane, ()) for lane in range(len(self.nodes))]
            lane = next(lane for lane, guests in options if is_free(lane, start, step, guests))
            chosen[node] = lane
            ahead[node] = {n for n in leading if chosen[n] == lane} | {node}
            users = [n for n in range(node, last + 1) if node in self.nodes[n].sources]
            end = max([step, *(self.steps[user] - 1 for user in users)])
            taken.append((lane, start, end, node))
        for node, lane in chosen.items():
            lanes[node] = lane - max(chosen.values()) / 2

    def _row_starts(self) -> list[int]:
        """The columns that begin a row: a stage where it fits, a block or layer where not."""
        fits = int((_WIDEST - 2 * _MARGIN) / self.cell)
        starts = [0]
        for stage in self._stages():
            for begin, end in stage:
                if end - starts[-1] > fits and begin > starts[-1]:
                    whole = stage[0][0] > starts[-1] and stage[-1][1] - stage[0][0] <= fits
                    starts.append(stage[0][0] if whole else begin)
                while end - starts[-1] > fits:
                    starts.append(starts[-1] + fits)
        return starts

    def _stages(self) -> list[list[tuple[int, int]]]:
        """First and one past the last column of each layer or section, by resolution."""
        trunk = [n for n in range(len(self.nodes)) if n == self.section_of.get(n, (n, n))[1]]
        stages = []
        for _, members in groupby(trunk, key=lambda n: self.nodes[n].size):
            stages.append([])
            for node in members:
                first, last = self.section_of.get(node, (node, node))
                steps = self.steps[first : last + 1]
                stages[-1].append((min(steps), max(steps) + 1))
        return stages

    def _block(self, node: Node) -> tuple[float, float]:
        """Width and height of a node's box."""
        if node.kind in ("add", "elementwise"):
            return _CIRCLE, _CIRCLE
        if not self.to_scale:
            return _BOX
        channels = node.shape[0] if node.shape else 1
        if len(node.shape) < 2:
            return 0.12, max(_LOW, _TALL * min(1, math.sqrt(channels / 4096)))
        largest = max(other.shape[-1] for other in self.nodes if len(other.shape) > 1)
        height = max(_LOW, _TALL * math.sqrt(node.shape[-1] / largest))
        return 0.1 + 0.5 * math.sqrt(channels / 2048), height

    def _measure(self) -> float:
        """Fill in the places' centres and the rows' extents; returns where the last row ends."""
        top = 0.55
        for row, here in enumerate(self.rows):
            block = max(place.height for place in here) / 2
            arcs = max((level + 1 for *_, level in self.arcs[row]), default=0)
            has_frames = any(
                self.places[n].row == row for nodes in self.frames.values() for n in nodes
            )
            head = _CAPTION + (_CAPTION + 0.08) * has_frames + arcs * _ARC + _SLANT * self.to_scale
            centre = top + head + block - min(place.lane for place in here) * _LANE
            for place in here:
                place.x = _MARGIN + 0.15 + (place.column + 0.5) * self.cell
                place.y = centre + place.lane * _LANE
            foot = 0.78 if self.to_scale else 0.2
            bottom = centre + max(place.lane for place in here) * _LANE + block + foot
            self.extents.append((top, bottom))
            top = bottom + _ROW_GAP
        return self.extents[-1][1]

    def _seen_from(self, source: int, target: int) -> _Place | None:
        """Where an arrow to the target starts: outside its row if the row before ends there."""
        a, b = self.places[source], self.places[target]
        if a.row == b.row:
            return a
        last = max(place.column for place in self.rows[a.row])
        if (a.row, a.column) != (b.row - 1, last):
            return None
        trunk = self.rows[b.row][0]
        return _Place(b.row, -1, 0, 0, 0, _MARGIN - 0.14, trunk.y - trunk.lane * _LANE)

    def _between(self, a: _Place, b: _Place) -> list[_Place]:
        """What stands in the columns between two places of one row."""
        return [place for place in self.rows[b.row] if a.column < place.column < b.column]

    def _arcs(self, row: int) -> list[tuple[int, int, int]]:
        """Source, target and level of each arrow that climbs over what is in its way."""
        found = []
        for target, node in enumerate(self.nodes):
            b = self.places[target]
            for source in node.sources if b.row == row else ():
                a = self._seen_from(source, target)
                if a:
                    lanes = {place.lane for place in self._between(a, b)}
                    if a.lane in lanes and b.lane in lanes:
                        found.append((source, target))
        spans = {
            (source, target): (self._seen_from(source, target).column, self.places[target].column)
            for source, target in found
        }
        levels: list[tuple[int, int, int]] = []
        for arc, (left, right) in sorted(spans.items(), key=lambda item: item[1][1] - item[1][0]):
            below = [
                level
                for *other, level in levels
                if spans[tuple(other)][0] < right and left < spans[tuple(other)][1]
            ]
            levels.append((*arc, max(below, default=-1) + 1))
        return levels

    def _frames(self) -> dict[str, list[int]]:
        """Blocks to be framed, by path: where paths part, and what stands for several."""
        frames: dict[str, list[int]] = {}
        for first, last in self.sections:
            path = self.path(first, last)
            if path:
                frames.setdefault(path, []).extend(range(first, last + 1))
        for index, node in enumerate(self.nodes):
            if node.repeats > 1 and index not in frames.setdefault(node.block, []):
                frames[node.block].append(index)
        return frames

    def path(self, first: int, last: int) -> str:
        """Path of the innermost module that holds all these nodes."""
        shared = []
        for names in zip(*(n.path.split(".") for n in self.nodes[first : last + 1]), strict=False):
            if len(set(names)) > 1:
                break
            shared.append(names[0])
        return ".".join(shared)

    # --- drawing ------------------------------------------------------------------------------

    def figure(self, title: str):
        """Everything, as a figure whose axes are in inches."""
        legend = self._legend()
        words = sum(0.6 + _LETTER * len(name) for _, name in legend)
        width = max(self.width, 2 * _MARGIN + words, 0.15 * len(title))
        height = self.height + (0.85 if self.to_scale else 0.45)
        figure = new_figure(width, height)
        figure.set_layout_engine("none")
        axes = figure.add_axes((0, 0, 1, 1))
        axes.set(xlim=(0, width), ylim=(height, 0))
        axes.axis("off")
        axes.text(_MARGIN, 0.25, title, size=16, weight="bold", va="center")
        for row in range(len(self.rows)):
            self._draw_bands(axes, row)
            self._draw_frames(axes, row)
        self._draw_edges(axes)
        for node, place in zip(self.nodes, self.places, strict=True):
            self._draw_node(axes, node, place)
        _draw_legend(axes, legend, self.height + 0.28)
        if self.to_scale:
            text = "height: side of the map, width: channels, both as square roots"
            axes.text(_MARGIN, self.height + 0.65, text, size=_SMALL, va="center")
        return figure

    def _draw_bands(self, axes: Axes, row: int) -> None:
        """A tinted band behind the neighbours that have one resolution."""
        sizes: dict[int, str] = {}  # of each column: the largest in it
        for index, place in enumerate(self.places):
            if place.row == row:
                joined = self.nodes[self.section_of.get(index, (0, index))[1]]  # behind a gate too
                both = sizes.get(place.column, ""), self.nodes[index].size, joined.size
                sizes[place.column] = max(both, key=lambda s: int(s.split("×")[0] or 0))
        top, bottom = self.extents[row]
        bands = groupby(sorted(sizes), key=sizes.get)
        for index, (size, members) in enumerate(bands):
            members = list(members)
            left = _MARGIN + 0.15 + members[0] * self.cell + 0.03
            right = _MARGIN + 0.15 + (members[-1] + 1) * self.cell - 0.03
            tint = "#EDF1F5" if (index + row) % 2 else "#F6F8FA"
            band = Rectangle((left, top), right - left, bottom - top, facecolor=tint, zorder=0)
            axes.add_patch(band)
            text = size or "vector"
            axes.text(left + 0.06, top + 0.17, text, size=_SMALL, va="center", color="#444444")

    def _draw_frames(self, axes: Axes, row: int) -> None:
        for path, members in self.frames.items():
            here = [n for n in members if self.places[n].row == row]
            if not here:
                continue
            left = min(self.places[n].x for n in here) - self.cell / 2 + 0.05
            right = max(self.places[n].x for n in here) + self.cell / 2 - 0.05
            ys = [self.places[n].y for n in here]
            arcs = [level + 1 for _, target, level in self.arcs[row] if target in here]
            half = max(self.places[n].height for n in here) / 2
            top = min(ys) - half - max(arcs, default=0) * _ARC - 0.1
            size = right - left, max(ys) + half + 0.08 - top
            look = {"boxstyle": "round,pad=0,rounding_size=0.08", "fill": False, "zorder": 1}
            axes.add_patch(FancyBboxPatch((left, top), *size, edgecolor="#777777", **look))
            times = max(self.nodes[n].repeats for n in here)
            count = f" ×{times}" if times > 1 else ""
            name = _shortened(path, int(size[0] / _LETTER) - len(count))
            weight = "bold" if count else "normal"
            axes.text(
                left + 0.04, top - 0.14, name + count, size=_SMALL, weight=weight, va="center"
            )

    def _draw_edges(self, axes: Axes) -> None:
        levels = {(s, t): level for arcs in self.arcs.values() for s, t, level in arcs}
        letters = iter("ABCDEFGHIJKLMNOPQRSTUVWXYZ" * 9)
        for target, node in enumerate(self.nodes):
            b = self.places[target]
            end = b.x - b.width / 2 - _STRIP * len(node.before), b.y
            for source in node.sources:
                leaving, a = self.places[source], self._seen_from(source, target)
                out = leaving.x + leaving.width / 2 + _STRIP * len(self.nodes[source].after)
                if a is not leaving:
                    name = "" if a else next(letters)
                    tip = leaving.x + self.cell / 2 + 0.1
                    _arrow(axes, (out, leaving.y), (tip, leaving.y), name=name)
                if a is None:
                    _arrow(axes, (end[0] - 0.3, b.y), end, name=name)
                    continue
                start = (out if a is leaving else a.x), a.y
                between = self._between(a, b)
                if (source, target) in levels:
                    tops = [place.y - place.height / 2 for place in [b, *between]]
                    y = min(tops) - _ARC * (levels[source, target] + 0.6)
                    x = start[0] + 0.07
                    _arrow(axes, start, (x, a.y), (x, y), (b.x, y), (b.x, b.y - b.height / 2))
                elif a.lane == b.lane:
                    _arrow(axes, start, end)
                elif a.lane in {place.lane for place in between}:
                    _arrow(axes, start, (start[0] + 0.12, b.y), end)
                else:  # along its own lane
                    _arrow(axes, start, (b.x - self.cell / 2 - 0.08, a.y), end)

    def _draw_node(self, axes: Axes, node: Node, place: _Place) -> None:
        x, y, width, height = place.x, place.y, place.width, place.height
        left, top = x - width / 2, y - height / 2
        look = {"facecolor": _FILLS.get(node.kind, _OTHER), "edgecolor": INK, "zorder": 3}
        for index, name in enumerate([*node.before, *node.after]):
            outside = index - len(node.before)
            side = left + outside * _STRIP if outside < 0 else left + width + outside * _STRIP
            colour = _STRIPS["norm" if "norm" in name.lower() else "activation"]
            strip = {"facecolor": colour, "edgecolor": "white", "lw": 0.4, "zorder": 4}
            axes.add_patch(Rectangle((side, top), _STRIP, height, **strip))
        centred = {"ha": "center", "zorder": 5}
        if node.kind in ("add", "elementwise"):
            axes.add_patch(Circle((x, y), width / 2, **look))
            symbol = _SYMBOLS.get(node.what.rstrip("_"), node.what)
            axes.text(x, y, symbol, va="center_baseline", size=16, **centred)
            return
        axes.add_patch(Rectangle((left, top), width, height, **look))
        lines = _label(node)
        if not self.to_scale:
            for line, offset in zip(lines, (-0.11, 0.12), strict=True):
                size = _SMALL * min(1, 7 / len(line))
                axes.text(x, y + offset, line, va="center", size=size, **centred)
            return
        if len(node.shape) > 1:
            slant, right, bottom = min(_SLANT, 0.28 * height), left + width, top + height
            roof = [(left, top), (left + slant, top - slant), (right + slant, top - slant)]
            wall = [(right, bottom), (right + slant, bottom - slant), (right + slant, top - slant)]
            axes.add_patch(Polygon([*roof, (right, top)], **look))
            axes.add_patch(Polygon([*wall, (right, top)], **look))
        below = y + height / 2 + 0.08
        axes.text(x, below, "\n".join(lines), va="top", size=_SMALL, linespacing=1.25, **centred)

    def _legend(self) -> list[tuple[str, str]]:
        kinds = {node.kind for node in self.nodes}
        entries = [(_FILLS[kind], name) for kind, name in _NAMES.items() if kind in kinds]
        strips = [name.lower() for node in self.nodes for name in node.before + node.after]
        if any("norm" in name for name in strips):
            entries.append((_STRIPS["norm"], "normalization"))
        if any("norm" not in name for name in strips):
            entries.append((_STRIPS["activation"], "activation"))
        return entries


def _label(node: Node) -> list[str]:
    """The two lines in a box, or below it."""
    if node.kind == "pool":
        kind, _, window = node.what.partition(" ")
        return [kind, window]
    return [node.what, node.channels]


def _shortened(path: str, letters: int) -> str:
    """As many of a path's last names as there is room for."""
    names = path.split(".")
    while len(names) > 1 and len(".".join(names)) > letters and not names[1].isdigit():
        del names[0]
    return ".".join(names)


def _arrow(axes: Axes, *points: tuple[float, float], name: str = "") -> None:
    """A line through the points with a head at the last; ``name`` stands above its first."""
    xs, ys = zip(*points, strict=True)
    axes.plot(xs[:-1], ys[:-1], color=INK, lw=1.3, ls="-", zorder=2, solid_joinstyle="round")
    look = {"arrowstyle": "-|>,head_width=0.25,head_length=0.45", "color": INK, "lw": 1.3}
    look |= {"shrinkA": 0, "shrinkB": 0}
    axes.annotate("", points[-1], points[-2], arrowprops=look, zorder=2)
    axes.text(xs[0] + 0.13, ys[0] - 0.04, name, size=_SMALL, weight="bold", ha="center")


def _draw_legend(axes: Axes, entries: list[tuple[str, str]], y: float) -> None:
    x = _MARGIN
    for colour, name in entries:
        width = 0.07 if colour in _STRIPS.values() else 0.24
        patch = Rectangle((x, y - 0.1), width, 0.2, facecolor=colour, edgecolor=INK, lw=0.8)
        axes.add_patch(patch)
        axes.text(x + width + 0.07, y, name, size=_SMALL, va="center")
        x += width + 0.3 + _LETTER * len(name)


# --- in words ---------------------------------------------------------------------------------

_COUNTED = {
    "conv": "convolution",
    "linear": "linear layer",
    "pool": "pooling layer",
    "add": "addition",
    "concat": "concatenation",
}


def _in_words(title: str, drawing: _Drawing) -> str:
    nodes = drawing.nodes
    counts = Counter()
    for node in nodes:
        counts[node.kind] += node.repeats
    total = ", ".join(
        f"{counts[kind]} {name}{'s' if counts[kind] != 1 else ''}"
        for kind, name in _COUNTED.items()
        if counts[kind]
    )
    parts, size = [], nodes[0].size
    for place, node in enumerate(nodes[1:], start=1):
        first, last = drawing.section_of.get(place, (place, place))
        if place != last:
            continue
        text = node.in_words
        if first < last:
            text = f"block {drawing.path(first, last)} ({_section_in_words(nodes, first, last)})"
        text += f", {node.repeats} times" if node.repeats > 1 else ""
        if node.size != size:
            text += f", now {node.size or 'a vector'}"
            size = node.size
        parts.append(" ".join(text.split()))
    return f"Architecture of {title}, drawn from the model: {total}. In order: {'; '.join(parts)}."


def _section_in_words(nodes: list[Node], first: int, last: int) -> str:
    """The paths through a section, side by side."""
    paths: list[list[int]] = []
    for place in range(first, last):
        ahead = [path for path in paths if path[-1] in nodes[place].sources]
        if ahead:
            ahead[0].append(place)
        else:
            paths.append([place])
    texts = [", ".join(nodes[place].in_words for place in path) for path in paths]
    if any(source < first for source in nodes[last].sources):
        texts.append("the shortcut")
    return f"{' beside '.join(texts)}, joined by {nodes[last].in_words}"
