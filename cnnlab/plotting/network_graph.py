"""A network as a graph of the layers worth drawing, read from the rows of `cnnlab.summary`."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from torch import nn

from cnnlab.cost import Row, Summary

__all__ = ["Node", "columns", "graph", "sections"]

# What only hands its one source on is not drawn: it moves no information.
_SILENT = {"flatten", "reshape", "getitem", "contiguous", "clone", "to"}
_MOST_COLUMNS = 30  # of a network that is drawn with all its blocks
_MOST_BRANCHES = 8


@dataclass
class Node:
    """One box of the drawing.

    Attributes
    ----------
    kind : str
        ``"input"`` or the kind of a `cnnlab.cost.Row`.
    what : str
        What the layer does: ``"3×3 /2"``, ``"max 2×2 /2"``, ``"add"``.
    shape : tuple of int
        Of its output, without the batch.
    sources : list of int
        Places of the nodes whose outputs it takes.
    before, after : list of str
        Norms and activations that belong to it, in their order.
    repeats : int
        How many such blocks stand in the network for the one that is drawn.
    last_shape : tuple of int
        Of the last of them.
    """

    kind: str
    what: str
    shape: tuple[int, ...]
    path: str = ""
    sources: list[int] = field(default_factory=list)
    before: list[str] = field(default_factory=list)
    after: list[str] = field(default_factory=list)
    block: str = ""
    repeats: int = 1
    last_shape: tuple[int, ...] = ()

    @property
    def channels(self) -> str:
        """Channels of the output, or its length: ``64``, ``64–512`` in blocks that widen."""
        first = self.shape[0] if self.shape else 1
        last = self.last_shape[0] if self.last_shape else first
        return str(first) if first == last else f"{first}–{last}"

    @property
    def size(self) -> str:
        """Height and width of the output: ``56×56``, empty for a vector."""
        return "×".join(map(str, self.shape[1:][-2:]))

    @property
    def in_words(self) -> str:
        """``3×3 /2 to 64``."""
        if self.kind in ("conv", "linear", "concat"):
            return f"{self.what} to {self.channels}"
        return self.what


def graph(model: nn.Module, summary: Summary) -> list[Node]:
    """The nodes in the order of the forward pass, deep networks with equal blocks folded."""
    nodes = _nodes(model, summary)
    if len(set(columns(nodes))) > _MOST_COLUMNS:
        nodes = _folded(nodes, exact=True)
    too_deep = len(set(columns(nodes))) > 3 * _MOST_COLUMNS
    too_wide = any(
        _branches(nodes, first, last) > _MOST_BRANCHES for first, last in sections(nodes)
    )
    return _folded(nodes, exact=False) if too_deep or too_wide else nodes


def sections(nodes: list[Node]) -> list[tuple[int, int]]:
    """Where paths part and join again: first and last place of each such stretch.

    Every other node has all paths from input to output running through it.
    """
    reach, found, first = 0, [], None
    ends = [
        max([t for t, n in enumerate(nodes) if s in n.sources] or [s]) for s in range(len(nodes))
    ]
    for place in range(1, len(nodes)):
        reach = max(reach, ends[place - 1])
        if reach > place:
            first = place if first is None else first
        elif first is not None:
            found.append((first, place))
            first = None
    return found


def columns(nodes: list[Node], sections: Sequence[tuple[int, int]] = ()) -> list[int]:
    """How many steps each node lies behind the input; a section's last behind all in it."""
    first_of = {last: first for first, last in sections}
    steps: list[int] = []
    for place, node in enumerate(nodes):
        behind = [steps[source] for source in node.sources]
        behind += steps[first_of[place] :] if place in first_of else []
        steps.append(max(behind, default=-1) + 1)
    return steps


# --- from rows to nodes -----------------------------------------------------------------------


def _nodes(model: nn.Module, summary: Summary) -> list[Node]:
    shape = summary.input_shape
    first = shape[0] if isinstance(shape, list) else shape
    first = next(iter(shape.values())) if isinstance(shape, dict) else first
    nodes = [Node("input", "input", tuple(first[1:]))]
    place = {-1: 0}  # of the node that stands for a row
    sources = summary.sources
    norms = {
        path: type(module).__name__
        for path, module in model.named_modules(remove_duplicate=False)
        if "norm" in type(module).__name__.lower() and not list(module.children())
    }  # to be one layer, of however many operations
    users = [len(readers) for readers in _readers(summary, sources, norms)]
    alone = {0: False}  # whether what comes next may join the node

    for index, row in enumerate(summary.rows):
        froms = list(dict.fromkeys(place[source] for source in sources[index] if source in place))
        if not froms:
            continue  # made of parameters only
        node, single = nodes[froms[0]], len(froms) == 1
        kind, what = (row.kind, _what(row)) if row.path not in norms else ("norm", norms[row.path])
        goes_on = row.path in norms and index and summary.rows[index - 1].path == row.path
        if single and (_is_silent(row) or goes_on):
            place[index] = froms[0]
            alone[froms[0]] = alone[froms[0]] and users[index] == 1
            continue
        if single and kind in ("norm", "activation") and alone[froms[0]]:
            node.after.append(what)
            place[index] = froms[0]
            alone[froms[0]] = users[index] == 1
            continue
        if single and node.kind in ("norm", "activation") and alone[froms[0]]:
            node.before, node.after = [node.what, *node.after], []
            node.kind, node.what, node.shape = kind, what, tuple(row.output_shape[1:])
            node.path = row.path
            place[index] = froms[0]
        else:
            place[index] = len(nodes)
            shape = tuple(row.output_shape[1:])
            nodes.append(Node(kind, what, shape, row.path, froms))
        alone[place[index]] = users[index] == 1
    return nodes


def _readers(summary: Summary, sources, norms) -> list[set]:
    """For each row who reads its output: rows, and norms as a whole."""
    readers: list[set] = [set() for _ in sources]
    for index, rows in enumerate(sources):
        path = summary.rows[index].path
        for row in set(rows) - {-1}:
            is_inside = path in norms and summary.rows[row].path == path
            readers[row].add(path if path in norms and not is_inside else index)
    return readers


def _is_silent(row: Row) -> bool:
    return (
        row.kind in ("view", "add", "elementwise")
        or row.type in _SILENT
        or "Drop" in row.type
        or ("AdaptiveAvg" in row.type and row.input_shape == row.output_shape)
    )


def _what(row: Row) -> str:
    if row.kind == "linear":
        return "linear"
    if row.kind in ("norm", "activation"):
        return row.type
    if row.kind == "pool":
        kind = "max" if "max" in row.type.lower() else "avg"
        if row.output_size and set(row.output_size) == {1} and row.input_size != row.output_size:
            return f"{kind} global"
        return f"{kind} {_window(row)}"
    if row.kind == "conv":
        kind = "up " if "ranspose" in row.type else ""
        channels = row.input_shape[1] if len(row.input_shape) > 1 else 1
        groups = row.groups or 1
        if 1 < groups == channels:
            kind = "dw "
        dilation = f" d{row.dilation[0]}" if row.dilation and max(row.dilation) > 1 else ""
        shared = f" g{groups}" if 1 < groups < channels else ""
        return f"{kind}{_window(row)}{dilation}{shared}"
    return {"cat": "concat"}.get(row.type, row.type)


def _window(row: Row) -> str:
    if not row.kernel_size:
        return ""
    stride = f" /{row.stride[0]}" if row.stride and max(row.stride) > 1 else ""
    return "×".join(map(str, row.kernel_size)) + stride


# --- blocks that repeat -----------------------------------------------------------------------


def _folded(nodes: list[Node], exact: bool) -> list[Node]:
    """Neighbouring modules that are built alike, ``layer3.1`` to ``layer3.5``, as one of them.

    ``exact``: alike in the number of channels too.
    """
    places: dict[str, list[int]] = {}  # of the nodes in each module
    for place, node in enumerate(nodes):
        parts = node.path.split(".") if node.path else []
        for depth in range(1, len(parts) + 1):
            places.setdefault(".".join(parts[:depth]), []).append(place)
    stands_for = list(range(len(nodes)))
    taken: set[int] = set()
    for path in sorted(places, key=lambda path: (path.count("."), places[path][0])):
        if taken & set(places[path]):
            continue
        run = [path]
        while (after := _next_sibling(run[-1])) in places and _alike(
            nodes, places[path], places[after], exact
        ):
            run.append(after)
        if len(run) == 1:
            continue
        for copy in run[1:]:
            taken.update(places[copy])
            for original, place in zip(places[path], places[copy], strict=True):
                stands_for[place] = original
        taken.update(places[path])
        for original, place in zip(places[path], places[run[-1]], strict=True):
            node = nodes[original]
            node.block, node.repeats, node.last_shape = path, len(run), nodes[place].shape
    kept = [place for place in range(len(nodes)) if stands_for[place] == place]
    renumbered = {place: new for new, place in enumerate(kept)}
    result = []
    for place in kept:
        node = nodes[place]
        froms = dict.fromkeys(renumbered[stands_for[source]] for source in node.sources)
        node.sources = [source for source in froms if source < renumbered[place]]
        result.append(node)
    return result


def _next_sibling(path: str) -> str:
    match = re.fullmatch(r"(.*?)(\d+)", path)
    return f"{match[1]}{int(match[2]) + 1}" if match else ""


def _alike(nodes: list[Node], one: list[int], other: list[int], exact: bool) -> bool:
    def built(places):
        inside = {place: order for order, place in enumerate(places)}
        return [
            (
                nodes[place].what,
                nodes[place].shape if exact else nodes[place].shape[1:],
                nodes[place].before,
                nodes[place].after if place != places[-1] else [],  # may belong to what follows
                sorted({inside.get(source, -1) for source in nodes[place].sources}),
            )
            for place in places
        ]

    if len(one) == 1 and nodes[one[0]].sources != nodes[other[0]].sources:
        return False  # single layers one behind the other are no blocks
    return built(one) == built(other)


def _branches(nodes: list[Node], first: int, last: int) -> int:
    """Paths that leave the node before a section."""
    return sum(1 for node in nodes[first : last + 1] if node.sources == [first - 1])
