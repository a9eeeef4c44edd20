"""What comes in from students: which files, how large, and cells put back as they were released.

Nothing here executes anything. A submission that cannot be graded is refused with one sentence,
a `SetAside`, that concerns nobody else.
"""

import json
import os
import re
import shutil
import stat
import time
import zipfile
from collections.abc import Iterator
from copy import deepcopy
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import nbformat
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import compute_checksum, parse_utc
from traitlets import Unicode

__all__ = [
    "RepairCells", "SetAside", "allowed_files", "before_autograding", "collect", "copy_files",
    "drop_links", "odd_times", "parse_notebook", "read_text", "repair", "size_of_folder",
]  # fmt: skip

MIB = 1 << 20
MAX_NOTEBOOK = 25 * MIB  # without outputs
MAX_FILE = 100 * MIB
MAX_FILES = 200
MAX_CELLS = 2000
# What an answer may bring along. Notebooks are taken by their names.
ALLOWED = (
    ".bmp", ".csv", ".cu", ".cuh", ".gif", ".h", ".jpeg", ".jpg", ".json", ".md", ".npy", ".npz",
    ".png", ".pt", ".pth", ".py", ".svg", ".tsv", ".txt", ".yaml",
)  # fmt: skip


class SetAside(ValueError):
    """This submission cannot be graded; the message says why and what to do."""


# --- files ---


def drop_links(folder: str | os.PathLike) -> list[str]:
    """Remove what is neither a file nor a folder (links, pipes, devices), and say so.

    nbgrader follows links when it copies a submission, and would hand their targets' contents
    to the student with the feedback.
    """
    dropped = []
    for where, folders, files in os.walk(folder):
        for name in [*folders, *files]:
            path = Path(where, name)
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode) or stat.S_ISDIR(mode):
                continue
            kind = f"a link to {os.readlink(path)}" if stat.S_ISLNK(mode) else "a special file"
            dropped.append(f"{path.relative_to(folder)} was {kind}: removed")
            path.unlink()
    return dropped


def odd_times(folder: str | os.PathLike) -> list[str]:
    """Whether the time of submission, which a student can write, fits the notebooks' own."""
    stamp = Path(folder, "timestamp.txt")
    try:
        told = parse_utc(stamp.read_text().strip()).timestamp()
    except (OSError, ValueError, UnicodeDecodeError):
        return []
    times = [path.stat().st_mtime for path in Path(folder).glob("*.ipynb")]
    if times and (late := max(times) - told) > 3600:
        return [f"timestamp.txt is {late / 3600:.0f} hours older than the notebook beside it"]
    return ["timestamp.txt lies in the future"] if told > time.time() + 3600 else []


def allowed_files(folder: str | os.PathLike) -> tuple[list[Path], list[str]]:
    """The files beside the notebooks that a kernel may see, and why others may not be."""
    kept, refused, total = [], [], 0
    for where, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__pycache__"]
        for name in sorted(files):
            path = Path(where, name)
            status, shown = path.lstat(), path.relative_to(folder)
            if not stat.S_ISREG(status.st_mode) or name.endswith(".ipynb") or name[0] == ".":
                continue
            total += status.st_size
            module = shown.parts[0].removesuffix(".py")
            if path.suffix.lower() not in ALLOWED:
                if name != "timestamp.txt" and path.suffix != ".checks":  # they came with it
                    refused.append(f"{shown}: files of this kind are not used")
            elif path.suffix == ".py" and _is_installed(module):
                refused.append(f"{shown}: would stand in for the installed module {module}")
            elif total > MAX_FILE or len(kept) >= MAX_FILES:
                refused.append(f"{shown}: more than {MAX_FILE // MIB} MiB or {MAX_FILES} files")
            else:
                kept.append(path)
    return kept, refused


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return True


def copy_files(source: str | os.PathLike | None, target: str | os.PathLike) -> None:
    """Copy the allowed files into a kernel's folder."""
    for path in allowed_files(source)[0] if source else []:
        where = Path(target) / path.relative_to(source)
        where.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, where, follow_symlinks=False)


def size_of_folder(folder: str | os.PathLike) -> int:
    """Bytes of a folder's files; every file counts as a block at least."""
    total = 0
    for where, _, files in os.walk(folder):
        for name in files:
            try:
                total += max(os.lstat(os.path.join(where, name)).st_size, 4096)
            except OSError:
                continue
    return total


# --- notebooks ---


def read_text(path: str | os.PathLike) -> bytes:
    """What a notebook's file holds.

    Raises
    ------
    SetAside
        If it is missing, a link, or too large.
    """
    path = Path(path)
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SetAside(f"{path.name} is missing: ask for it again.") from None
    except OSError:
        raise SetAside(f"{path.name} is a link, not a notebook: ask for the file.") from None
    with os.fdopen(handle, "rb") as file:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise SetAside(f"{path.name} is not a file.")
        if status.st_size > 4 * MAX_NOTEBOOK:
            raise SetAside(f"{path.name} is larger than {4 * MAX_NOTEBOOK // MIB} MiB.")
        return file.read()


def parse_notebook(text: bytes, name: str) -> NotebookNode:
    """A notebook of format 4, whatever it was.

    Raises
    ------
    SetAside
        If it is no notebook.
    """
    if not text.strip():
        raise SetAside(f"{name} is empty.")
    try:
        content = json.loads(text)
        version = content.get("nbformat") if isinstance(content, dict) else None
        if version == 4 and isinstance(content.get("cells"), list):
            notebook = nbformat.from_dict(content)  # what is odd about a cell is repaired
        else:
            notebook = nbformat.reads(text.decode(), as_version=4)
    except (Exception, RecursionError) as error:
        reason = str(error).splitlines()[0][:100] if str(error) else type(error).__name__
        raise SetAside(f"{name} is not a notebook ({reason}).") from None
    if notebook.get("nbformat") != 4 or not isinstance(notebook.get("cells"), list):
        raise SetAside(f"{name} is not a notebook of format 4.")
    if len(notebook.cells) > MAX_CELLS:
        raise SetAside(f"{name} has more than {MAX_CELLS:,} cells.")
    return notebook


def repair(notebook: NotebookNode, release: NotebookNode) -> list[str]:
    """Put nbgrader's cells back as they were released; says what had to be changed.

    Students' own cells stay where they are. A cell that was released and is locked gets its
    source, type, points and place after the cells that came before it; one that is missing is
    put back; a copy of one becomes an ordinary cell.
    """
    said: list[str] = []
    given = [cell for cell in release.cells if "nbgrader" in cell.metadata]
    by_name = {cell.metadata.nbgrader.grade_id: cell for cell in given}
    cells = [_plain(cell, said) for cell in notebook.cells if isinstance(cell, dict)]
    if sum(len(cell.source) for cell in cells) > MAX_NOTEBOOK:
        raise SetAside(f"The notebook holds more than {MAX_NOTEBOOK // MIB} MiB of text.")

    taken: dict[str, NotebookNode] = {}
    for cell in cells:
        name = _name(cell)
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
    for name, cell in taken.items():
        _restore(cell, by_name[name], said)
    _place(cells, given, taken, said)
    notebook.cells = cells
    notebook.metadata = deepcopy(release.metadata)
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    for index, cell in enumerate(cells):
        cell.id = f"c{index}"
    return said


def _plain(cell: NotebookNode, said: list[str]) -> NotebookNode:
    """A cell with nothing in it but source, type and what nbgrader says of it."""
    source = cell.get("source", "")
    source = "".join(map(str, source)) if isinstance(source, list) else str(source)
    kind = cell.get("cell_type")
    made = NotebookNode(cell_type=kind if kind in ("code", "markdown") else "raw", metadata={})
    made.metadata, made.source = NotebookNode(), source
    if made.cell_type == "code":
        made.outputs, made.execution_count = [], None
    metadata = cell.get("metadata") or {}
    if isinstance(attachments := cell.get("attachments"), dict) and kind == "markdown":
        made.attachments = attachments
    if isinstance(metadata.get("nbgrader"), dict):
        made.metadata.nbgrader = metadata["nbgrader"]
    if "skip-execution" in (metadata.get("tags") or []):
        said.append("a cell was tagged skip-execution")
    return made


def _name(cell: NotebookNode) -> str | None:
    name = cell.metadata.get("nbgrader", {}).get("grade_id")
    return name if isinstance(name, str) else None


def _better(cell: NotebookNode, other: NotebookNode, original: NotebookNode) -> bool:
    """Whether a copy holds an answer where the first cell of that name holds none."""
    return _is_answer(original) and other.source == original.source != cell.source


def _is_answer(cell: NotebookNode) -> bool:
    return bool(cell.metadata.nbgrader.get("solution"))


def _same(cell: NotebookNode, original: NotebookNode) -> bool:
    return cell.cell_type == original.cell_type and cell.source == original.source


def _restore(cell: NotebookNode, original: NotebookNode, said: list[str]) -> None:
    name, asked = _name(cell), original.metadata.nbgrader
    known = {k: v for k, v in cell.metadata.nbgrader.items() if k in asked and k != "checksum"}
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
        said.append(f"{name}: was edited though it is locked")
        cell.source = original.source
    cell.metadata.nbgrader = deepcopy(asked)
    cell.metadata.nbgrader.checksum = compute_checksum(original)


def _place(cells: list, given: list, taken: dict, said: list[str]) -> None:
    """Every released cell that counts stands after those that were released before it."""
    last = -1
    for original in given:
        name = _name(original)
        counts = bool(original.metadata.nbgrader.get("grade"))
        if name not in taken:
            if not counts:
                continue
            said.append(f"{name}: was missing")
            # Without a checksum: a lost answer is not taken for a blank one, a person looks.
            cells.append(deepcopy(original))
            last = len(cells) - 1
            continue
        here = next(i for i, cell in enumerate(cells) if cell is taken[name])
        if here < last and counts and not _is_answer(original):
            said.append(f"{name}: stood before what it asks about")
            cells.insert(last, cells.pop(here))
        else:
            last = max(last, here)


class RepairCells(NbGraderPreprocessor):
    """The first of nbgrader's sanitizing steps: cells as they were released."""

    release = Unicode(help="The folder of the released assignments.").tag(config=True)

    def preprocess(self, nb, resources):
        names = resources["nbgrader"]
        path = Path(self.release) / names["assignment"] / f"{names['notebook']}.ipynb"
        repair(nb, nbformat.read(path, as_version=4))
        return nb, resources


def before_autograding(assignment: str, student: str, notebooks: list[str]) -> None:
    """nbgrader's ``pre_convert_hook``: what must not be copied is gone before it copies."""
    for folder in {Path(path).parent for path in notebooks}:
        drop_links(folder)


# --- what learning platforms hand out ---

# Canvas: smithjohn_LATE_1234_56789_a1_convolution-2.ipynb, 1234 is the student's number.
CANVAS = re.compile(r"(?P<name>[^_/]+)(?:_LATE)?_(?P<number>\d+)_\d+_(?P<file>.+)")
# Moodle: "John Smith_1234_assignsubmission_file_/a1_convolution.ipynb", with a folder or not.
MOODLE = re.compile(r"(?P<name>[^_/]+)_(?P<number>\d+)_assignsubmission_file_/?(?P<file>.+)")
# A student's folder, as nbgrader's exchange has it: john/a1_convolution/a1_convolution.ipynb
FOLDER = re.compile(r"(?P<name>[^/]+)/(?P<number>)(?P<file>.+)")


def collect(source: str | os.PathLike, assignment: str, submitted: str | os.PathLike) -> list[str]:
    """Put submissions from a folder or a zip of Canvas or Moodle where nbgrader expects them.

    Returns
    -------
    list of str
        What was left out, and why.

    Raises
    ------
    SetAside
        If nothing in it looks like a submission.
    """
    said: list[str] = []
    seen: set[Path] = set()
    for name, size, content in _members(Path(source), said):
        found = next((m for r in (MOODLE, CANVAS, FOLDER) if (m := r.fullmatch(name))), None)
        if found is None:
            said.append(f"{name}: whose is it?")
            continue
        student = re.sub(r"[^\w.-]+", "_", found["name"]).strip("._")
        student += f"_{found['number']}" if found["number"] else ""
        file = PurePosixPath(found["file"].replace("\\", "/"))
        parts = [p for p in file.parts if p not in ("/", ".", "..", assignment)]
        if not student or not parts or any(part.startswith((".", "__MACOSX")) for part in parts):
            continue
        if file.suffix == ".ipynb":  # platforms and browsers number files that come again
            parts = [f"{assignment}.ipynb"]
        elif file.suffix.lower() not in ALLOWED:
            said.append(f"{name}: files of this kind are not used")
            continue
        target = Path(submitted, student, assignment, *parts)
        if target in seen and file.suffix == ".ipynb":
            said.append(f"{name}: {student} handed in more than one notebook; the last is graded")
        if size > MAX_FILE:
            said.append(f"{name}: larger than {MAX_FILE // MIB} MiB")
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content())
        seen.add(target)
    if not seen:
        raise SetAside(f"{source} holds no submission.")
    return said


def _members(source: Path, said: list[str]) -> Iterator[tuple[str, int, object]]:
    """Names, sizes and contents, in the order of their names; links and bombs are left out."""
    if source.is_dir():
        for path in sorted(source.rglob("*")):
            if path.is_symlink():
                said.append(f"{path.relative_to(source)}: links are not followed")
            elif path.is_file():
                yield path.relative_to(source).as_posix(), path.stat().st_size, path.read_bytes
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, zipfile.BadZipFile) as error:
        raise SetAside(f"{source} is neither a folder nor a zip file ({error}).") from None
    with archive:
        total = 0
        for member in sorted(archive.infolist(), key=lambda m: m.filename):
            total += member.file_size
            if stat.S_ISLNK(member.external_attr >> 16):
                said.append(f"{member.filename}: links are not followed")
            elif member.file_size > 200 * max(member.compress_size, 4096):
                said.append(f"{member.filename}: unpacks to {member.file_size // MIB} MiB")
            elif not member.is_dir():
                yield member.filename, member.file_size, lambda m=member: archive.read(m)
