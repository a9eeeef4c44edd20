"""The one reader of notebooks: what a person's editor made of an assignment, as it was released.

Grading, nbgrader's gradebook, feedback and ``cnnlab check`` all read what `parse_notebook` and
`repair` make of a file, so that no two of them can disagree about it. Nothing here executes
anything, and time and memory are bounded by the size of the file.
"""

import ast
import json
import re
from copy import deepcopy

import nbformat
from nbformat import NotebookNode

__all__ = ["SetAside", "name_of", "parse_notebook", "plain_python", "repair"]

MIB = 1 << 20
MAX_NOTEBOOK = 25 * MIB  # without outputs
MAX_CELLS = 2000
MAX_NODES, MAX_VALUES = 500_000, 5_000_000  # lists and dicts, and what stands in them
PICTURES = ("image/png", "image/jpeg", "image/gif", "image/webp")
BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")


class SetAside(ValueError):
    """This submission cannot be graded; the message says why and what to do."""


def parse_notebook(text: bytes, name: str) -> NotebookNode:
    """A notebook of format 4 with plain cells, whatever encoding, format or editor it is from.

    Raises
    ------
    SetAside
        If it is no notebook, or more of one than can be handled.
    """
    if not text.strip(b"\0 \t\r\n"):
        raise SetAside(f"{name} is empty.")
    if text.count(b"[") + text.count(b"{") > MAX_NODES or text.count(b",") > MAX_VALUES:
        raise SetAside(f"{name} holds more than {MAX_NODES:,} lists: clear its outputs.")
    try:
        # What an editor or a merge left within a text, or at an end, is no reason to refuse it.
        content = json.loads(_decoded(text).strip("\ufeff\0\x1a \t\r\n"), strict=False)
    except (ValueError, RecursionError):
        raise SetAside(f"{name} is not a notebook: it cannot be read as JSON.") from None
    if not isinstance(content, dict):
        raise SetAside(f"{name} is not a notebook: it is JSON, but has no cells.")
    version = str(content.get("nbformat") or 4).partition(".")[0]
    if version in ("1", "2", "3"):
        content |= {"nbformat": int(version), "nbformat_minor": 0}
        try:
            content = nbformat.convert(nbformat.from_dict(content), 4)
        except (Exception, RecursionError):
            raise SetAside(f"{name} is not a notebook of format {version}.") from None
    elif version != "4":
        raise SetAside(f"{name} is a notebook of format {version[:9]}: save it as format 4.")
    cells = content.get("cells")
    if not isinstance(cells, list):
        raise SetAside(f"{name} is not a notebook: it has no cells.")
    if len(cells) > MAX_CELLS:
        raise SetAside(f"{name} has more than {MAX_CELLS:,} cells.")
    notebook = NotebookNode(nbformat=4, nbformat_minor=5, metadata=NotebookNode())
    notebook.cells = [_plain(cell) for cell in cells if isinstance(cell, dict)]
    if sum(len(cell.source) + _attached(cell) for cell in notebook.cells) > MAX_NOTEBOOK:
        raise SetAside(f"{name} holds more than {MAX_NOTEBOOK // MIB} MiB of text and pictures.")
    return _numbered(notebook)


def _decoded(text: bytes) -> str:
    encoding = json.detect_encoding(text)  # UTF-8, -16 and -32, with a mark at the front or not
    try:
        return text.decode(encoding)
    except UnicodeDecodeError:
        return text.decode("cp1252", "replace")


def _plain(cell: dict) -> NotebookNode:
    """A cell with nothing in it but source, type, pictures and what nbgrader says of it."""
    source = cell.get("source") or ""
    source = "".join(map(str, source)) if isinstance(source, list) else str(source)
    source = source.encode("utf-8", "replace").decode()  # half a character of UTF-16
    kind = cell.get("cell_type")
    made = NotebookNode(cell_type=kind if kind in ("code", "markdown") else "raw", source=source)
    made.metadata = NotebookNode()
    if kind == "code":
        made.outputs, made.execution_count = [], None
    metadata = cell.get("metadata")
    metadata = metadata if isinstance(metadata, dict) else {}
    if kind == "markdown" and (pictures := _pictures(cell.get("attachments"))):
        made.attachments = pictures
    if isinstance(metadata.get("nbgrader"), dict):
        made.metadata.nbgrader = nbformat.from_dict(metadata["nbgrader"])
    if isinstance(tags := metadata.get("tags"), list) and "skip-execution" in tags:
        made.metadata.tags = ["skip-execution"]
    return made


def _pictures(attachments) -> NotebookNode:
    """Of a cell's attachments, those that are pictures."""
    kept = NotebookNode()
    for name, bundle in attachments.items() if isinstance(attachments, dict) else ():
        for mime, data in bundle.items() if isinstance(bundle, dict) else ():
            if mime in PICTURES and isinstance(data, str) and BASE64.fullmatch(data):
                kept[name.encode("utf-8", "replace").decode()] = NotebookNode({mime: data})
    return kept


def _attached(cell: NotebookNode) -> int:
    return sum(len(d) for b in cell.get("attachments", {}).values() for d in b.values())


def _numbered(notebook: NotebookNode) -> NotebookNode:
    for index, cell in enumerate(notebook.cells):
        cell.id = f"c{index}"
    return notebook


def repair(
    notebook: NotebookNode, release: NotebookNode, to_read: list[str] | None = None
) -> list[str]:
    """Put nbgrader's cells back as they were released; says what had to be changed.

    Students' own cells stay where they are. A cell that was released and is locked gets its
    source, type, points and place after the cells that came before it; one that is missing is
    put back; a copy of one becomes an ordinary cell. A written answer about whose cell anything
    changed is never taken for a blank one: it waits for a person, who is told in ``to_read``.
    """
    said: list[str] = []
    to_read = [] if to_read is None else to_read
    given = [cell for cell in release.cells if "nbgrader" in cell.metadata]
    by_name = {cell.metadata.nbgrader.grade_id: cell for cell in given}
    cells = notebook.cells
    for cell in cells:
        if cell.metadata.pop("tags", None):
            said.append("a cell was tagged skip-execution")

    taken: dict[str, NotebookNode] = {}
    for cell in cells:
        name = name_of(cell)
        original = by_name.get(name)
        if original is None or (name in taken and not _better(cell, taken[name], original)):
            if "nbgrader" in cell.metadata:
                said.append(f"a cell named {str(name)[:60]!r} is a copy or was never released")
                del cell.metadata["nbgrader"]
            continue
        if name in taken:
            del taken[name].metadata["nbgrader"]
            said.append(f"there were two cells named {name}")
        taken[name] = cell

    for name, original in by_name.items():  # cells whose metadata an editor has dropped
        if name not in taken and not _is_answer(original):
            same = [c for c in cells if "nbgrader" not in c.metadata and _same(c, original)]
            if same:
                taken[name] = same[0]
                same[0].metadata.nbgrader = NotebookNode(grade_id=name)
    _find_written(cells, release, taken, said, to_read)
    for name, cell in taken.items():
        own = cell.source
        _restore(cell, by_name[name], said)
        changed = cell.source.split() != own.split()
        if changed and cell.cell_type == "code" and not _is_graded(cell):
            # Somebody added an import to the locked ones: it counts, after them.
            cells.insert(_index(cells, cell) + 1, _plain({"cell_type": "code", "source": own}))
    _place(cells, given, taken, said)
    notebook.metadata = deepcopy(release.metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    _numbered(notebook)
    return said


def name_of(cell: NotebookNode) -> str | None:
    """The id that nbgrader knows a cell by."""
    name = cell.metadata.get("nbgrader", {}).get("grade_id")
    return name if isinstance(name, str) else None


def _better(cell: NotebookNode, other: NotebookNode, original: NotebookNode) -> bool:
    """Whether a copy holds an answer where the first cell of that name holds none."""
    return _is_answer(original) and _same_text(other, original) and not _same_text(cell, original)


def _is_answer(cell: NotebookNode) -> bool:
    return bool(cell.metadata.nbgrader.get("solution"))


def _is_graded(cell: NotebookNode) -> bool:
    return bool(cell.metadata.nbgrader.get("grade"))


def _is_written(cell: NotebookNode) -> bool:
    return _is_answer(cell) and _is_graded(cell)


def _same_text(cell: NotebookNode, original: NotebookNode) -> bool:
    return cell.source.split() == original.source.split()


def _same(cell: NotebookNode, original: NotebookNode) -> bool:
    return cell.cell_type == original.cell_type and _same_text(cell, original)


def _find_written(cells: list, release, taken: dict, said: list, to_read: list) -> None:
    """Written answers whose cells have lost their names, and texts that stand beside them."""
    released = {" ".join(cell.source.split()) for cell in release.cells} | {""}
    stray = [
        cell
        for cell in cells
        if cell.cell_type != "code"
        and "nbgrader" not in cell.metadata
        and " ".join(cell.source.split()) not in released
    ]
    order = [name_of(cell) for cell in release.cells if "nbgrader" in cell.metadata]
    for original in filter(lambda c: "nbgrader" in c.metadata and _is_written(c), release.cells):
        name = original.metadata.nbgrader.grade_id
        blank = name not in taken or (
            _same_text(taken[name], original) and not taken[name].get("attachments")
        )
        if not blank or not stray:
            continue
        if name not in taken:  # the first text after what was released before it
            before = [taken[n] for n in order[: order.index(name)] if n in taken]
            last = max((i for i, c in enumerate(cells) if any(c is b for b in before)), default=-1)
            found = next((c for c in stray if _index(cells, c) > last), stray[0])
            stray = [c for c in stray if c is not found]
            found.metadata.nbgrader = NotebookNode(grade_id=name)
            taken[name] = found
            said.append(f"{name}: its cell had lost its name")
            to_read.append(f"{name}: a text without a name was taken for it: is it the answer?")
        else:
            taken[name].metadata.nbgrader["unread"] = True
            beside = "; ".join(repr(" ".join(c.source.split())[:80]) for c in stray[:3])
            to_read.append(f"{name} is blank, and there is text in other cells: {beside}")


def _index(cells: list, cell: NotebookNode) -> int:
    return next(i for i, other in enumerate(cells) if other is cell)


def _restore(cell: NotebookNode, original: NotebookNode, said: list[str]) -> None:
    name, asked, before = name_of(cell), original.metadata.nbgrader, len(said)
    told = cell.metadata.nbgrader
    unread = told.pop("unread", False) or set(told) == {"grade_id"}
    known = {k: v for k, v in told.items() if k in asked and k != "checksum"}
    if known != {k: v for k, v in asked.items() if k in known}:
        said.append(f"{name}: its grading was changed in the notebook")
    if cell.cell_type != original.cell_type:
        said.append(f"{name}: was turned into a {cell.cell_type} cell")
        cell.cell_type = original.cell_type
        for field in ("outputs", "execution_count", "attachments"):
            cell.pop(field, None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    if not _is_answer(original) and cell.source != original.source:
        if not _same_text(cell, original):
            said.append(f"{name}: was edited though it is locked")
        cell.source = original.source
    cell.metadata.nbgrader = deepcopy(asked)
    if _is_written(original) and (unread or len(said) > before):
        cell.metadata.nbgrader.pop("checksum", None)  # nbgrader gives no 0 then: a person reads


def _place(cells: list, given: list, taken: dict, said: list[str]) -> None:
    """Locked cells back in their places: a graded one stands after all that was released before
    it, any other (the imports) before all that was released after it."""
    last = -1
    for number, original in enumerate(given):
        name, graded = name_of(original), _is_graded(original)
        if name not in taken:
            if _is_answer(original) and not graded:
                continue
            said.append(f"{name}: was missing")
            made = deepcopy(original)
            if _is_written(original):
                made.metadata.nbgrader.pop("checksum", None)
            last = len(cells) if graded else last + 1
            cells.insert(last, made)
            continue
        here = _index(cells, taken[name])
        later = [_index(cells, taken[n]) for n in map(name_of, given[number + 1 :]) if n in taken]
        if graded and not _is_answer(original) and here < last:
            said.append(f"{name}: stood before what it asks about")
            cells.insert(last, cells.pop(here))
        elif not graded and not _is_answer(original) and here > min(later, default=here):
            said.append(f"{name}: stood after what needs it")
            last += 1
            cells.insert(last, cells.pop(here))
        else:
            last = max(last, here)


# !command, %magic, ?help and help?, also behind "x =".
MAGIC = re.compile(
    r"^([ \t]*)((?:[\w(][\w.,()\[\]'\" \t]*=[ \t]*)?)"
    r"(?:[!%]{1,2}[ \t]*[\w./~$\"'({-].*|\?.*|[\w.]+\?{1,2}[ \t]*)$"
)
CONTINUED = re.compile(r"^([ \t]*(?:\w+[ \t]*=[ \t]*)?[!%][^\n]*)\\\n(?:[^\n]*\\\n)*[^\n]*", re.M)
TIMED = re.compile(r"\s*%%(?:time|timeit|capture|prun)\b.*")
MAX_SOURCE = 200_000  # characters: nobody writes a longer cell by hand


def plain_python(source: str) -> str:
    """A cell's source with IPython's magics and commands taken out, so that it can be parsed."""
    if len(source) > MAX_SOURCE:
        return ""
    if source.lstrip().startswith("%%"):
        magic, _, body = source.lstrip().partition("\n")
        return plain_python(body) if TIMED.fullmatch(magic) else ""
    try:
        ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        from IPython.core.inputtransformer2 import classic_prompt, ipython_prompt

        lines = classic_prompt(ipython_prompt(source.splitlines(keepends=True)))
        lines = CONTINUED.sub(r"\1", "".join(lines)).split("\n")
        return "\n".join(MAGIC.sub(r"\1\2None", line) for line in lines)
    return source
