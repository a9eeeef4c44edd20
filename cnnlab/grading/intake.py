"""What comes in from students: whose it is, which of it counts, how large it may be.

Nothing here executes anything. What is wrong with one submission is a sentence about it, a
`SetAside`, and concerns nobody else. Names are bytes that anybody may have chosen.
"""

import contextlib
import errno
import hashlib
import io
import os
import re
import stat
import time
import unicodedata
import zipfile
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from importlib.util import find_spec
from pathlib import Path, PurePosixPath

import nbformat
from nbconvert.exporters import NotebookExporter
from nbformat import NotebookNode
from nbgrader.preprocessors import NbGraderPreprocessor
from nbgrader.utils import parse_utc
from traitlets import Unicode

from cnnlab.assignments.reading import SetAside, name_of, parse_notebook, repair

__all__ = [
    "Candidate", "Reader", "RepairCells", "SetAside", "allowed_files", "before_autograding",
    "choose", "collect", "digest_of", "drop_links", "odd_times", "parse_notebook", "printable",
    "read_text", "repair",
]  # fmt: skip

MIB = 1 << 20
MAX_FILE = 100 * MIB
MAX_FILES, MAX_MEMBERS = 200, 100_000
# What an answer may bring along. Notebooks are taken by what is in them.
ALLOWED = (
    ".bmp", ".csv", ".cu", ".cuh", ".gif", ".h", ".jpeg", ".jpg", ".json", ".md", ".npy", ".npz",
    ".png", ".pt", ".pth", ".py", ".svg", ".tsv", ".txt", ".yaml",
)  # fmt: skip
NOTEBOOK = re.compile(r"\.ipynb(\.txt|\.json)?$", re.IGNORECASE)
# What browsers, JupyterLab and platforms add to the name of a file that comes again.
AGAIN = re.compile(r"([ _-]*(\(\d+\)|copy\s*\d*|[-_]\d+))+$", re.IGNORECASE)


def printable(text: object) -> str:
    """A text that a terminal, a page and a file can take: no control characters, valid UTF-8."""
    text = str(text).encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(
        "\ufffd" if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") else c for c in text
    )


# --- files of one submission ---


def _walk(folder: str | os.PathLike) -> Iterator[os.DirEntry]:
    """All that lies below a folder, in order, however deep: only folders are entered."""
    todo, seen = [os.fspath(folder)], 0
    while todo:
        try:
            entries = sorted(os.scandir(todo.pop()), key=lambda entry: entry.name)
        except OSError:
            continue  # a path of 4096 bytes
        for entry in entries:
            seen += 1
            if seen > MAX_MEMBERS:
                raise SetAside(f"It consists of more than {MAX_MEMBERS:,} files.")
            yield entry
        todo += [entry.path for entry in reversed(entries) if entry.is_dir(follow_symlinks=False)]


def drop_links(folder: str | os.PathLike) -> list[str]:
    """Remove what is neither a file nor a folder (links, pipes, devices), and say so.

    nbgrader follows links when it copies a submission, and would hand their targets' contents
    to the student with the feedback.
    """
    dropped = []
    for entry in list(_walk(folder)):
        if entry.is_file(follow_symlinks=False) or entry.is_dir(follow_symlinks=False):
            continue
        with contextlib.suppress(OSError):  # a path of 4096 bytes: nobody can open it either
            link = entry.is_symlink()
            kind = f"a link to {os.readlink(entry.path)}" if link else "a special file"
            os.unlink(entry.path)
            dropped.append(f"{os.path.relpath(entry.path, folder)} was {kind}: removed")
    return dropped


def timestamp(folder: str | os.PathLike) -> str:
    """The time of submission that nbgrader's exchange notes, if it can be read."""
    try:
        told = read_text(Path(folder, "timestamp.txt"), 1000).decode().strip()
        parse_utc(told)
    except (SetAside, ValueError, OverflowError):
        return ""
    return told


def odd_times(folder: str | os.PathLike) -> list[str]:
    """Whether the time of submission, which a student can write, fits the notebooks' own."""
    if not (stamp := timestamp(folder)):
        return []
    told = parse_utc(stamp).timestamp()
    times = [path.stat().st_mtime for path in Path(folder).glob("*.ipynb")]
    if times and (late := max(times) - told) > 3600:
        return [f"timestamp.txt is {late / 3600:.0f} hours older than the notebook beside it"]
    return ["timestamp.txt lies in the future"] if told > time.time() + 3600 else []


def files_in(folder: str | os.PathLike) -> Iterator[tuple[str, os.stat_result]]:
    """The files of a submission by path, in order; systems' and hidden ones are left out."""
    for entry in _walk(folder):
        shown = os.path.relpath(entry.path, folder)
        if entry.is_file(follow_symlinks=False) and not any(map(_is_litter, shown.split(os.sep))):
            yield shown, entry.stat(follow_symlinks=False)


def _is_litter(name: str) -> bool:
    return name.startswith(".") or name in ("__pycache__", "__MACOSX")


def allowed_files(folder: str | os.PathLike) -> tuple[list[str], list[str]]:
    """The paths beside the notebooks that a kernel may see, and why others may not be."""
    kept, refused, total = [], [], 0
    for shown, status in files_in(folder):
        name = os.path.basename(shown)
        module = shown.split(os.sep)[0].removesuffix(".py")
        if NOTEBOOK.search(name) or name == "timestamp.txt" or name.endswith(".checks"):
            continue  # the last two came with it
        total += status.st_size
        if os.path.splitext(name)[1].lower() not in ALLOWED:
            refused.append(f"{shown}: files of this kind are not used")
        elif name.endswith(".py") and _is_installed(module):
            refused.append(f"{shown}: would stand in for the installed module {module}")
        elif total > MAX_FILE or len(kept) >= MAX_FILES:
            refused.append(f"{shown}: more than {MAX_FILE // MIB} MiB or {MAX_FILES} files")
        else:
            kept.append(shown)
    return kept, refused[:50]


def _is_installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return True


def read_text(path: str | os.PathLike, most: int = MAX_FILE) -> bytes:
    """What a file of a submission holds.

    Raises
    ------
    SetAside
        If it is missing, a link, or too large.
    """
    name = printable(os.path.basename(path))
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise SetAside(f"{name} is missing: ask for it again.") from None
    except OSError:
        raise SetAside(f"{name} is a link or cannot be read: ask for the file.") from None
    with os.fdopen(handle, "rb") as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise SetAside(f"{name} is not a file.")
        content = file.read(most + 1)
    if len(content) > most:
        raise SetAside(f"{name} is larger than {most // MIB} MiB.")
    return content


def digest_of(folder: str | os.PathLike, *more: bytes) -> str:
    """A number of all that a submission holds, by which a change is known."""
    whole = hashlib.sha256(b"".join(hashlib.sha256(part).digest() for part in more))
    for shown, status in files_in(folder):
        whole.update(hashlib.sha256(os.fsencode(shown)).digest())
        content = hashlib.sha256(str(status.st_size).encode())
        with open(os.path.join(folder, shown), "rb") as file:
            left = 2 * MAX_FILE  # what is larger is not used
            while left > 0 and (chunk := file.read(min(left, MIB))):
                content.update(chunk)
                left -= len(chunk)
        whole.update(content.digest())
    return whole.hexdigest()


# --- which notebook is meant ---


@dataclass
class Candidate:
    path: str
    text: bytes
    when: float = 0.0
    attempt: int = 0
    notebook: NotebookNode | None = None  # what `choose` read in it,
    worked: bool = False  # and whether somebody had worked in it


def choose(
    found: list[Candidate], name: str, release: NotebookNode | None, said: list[str]
) -> Candidate | None:
    """The notebook that a student means by ``name``, of all that are there.

    A notebook is known by what it holds: one with another assignment's cells is never taken, one
    that was worked in goes before a blank one, then the name counts, then the newest.

    Raises
    ------
    SetAside
        If there is nothing but other assignments' notebooks.
    """
    answers = {
        cell.metadata.nbgrader.grade_id: " ".join(cell.source.split())
        for cell in (release.cells if release else ())
        if "nbgrader" in cell.metadata
    }
    locked = [cell.source for cell in (release.cells if release else ()) if _is_check(cell)]
    ranked, others = [], []
    for candidate in found:
        stem = NOTEBOOK.sub("", os.path.basename(candidate.path))
        named = AGAIN.sub("", stem).casefold() == name.casefold()
        worked = ours = False
        try:
            candidate.notebook = parse_notebook(candidate.text, stem)
        except SetAside:
            candidate.notebook = None
        notebook = candidate.notebook or NotebookNode(cells=[])
        ids = {known: cell for cell in notebook.cells if (known := name_of(cell)) is not None}
        if answers:
            ours = bool(answers.keys() & ids.keys()) or any(
                cell.source in locked for cell in notebook.cells
            )
            worked = candidate.worked = any(
                " ".join(cell.source.split()) != answers[known]
                for known, cell in ids.items()
                if known in answers
            )
        if (ids and answers and not ours) or _is_of_another(stem, name):
            others.append(f"{candidate.path} is another assignment's notebook")
            continue
        exact = stem == name
        ranked.append(((worked, named, candidate.attempt, exact, candidate.when), candidate))
    if not ranked:
        if others:
            raise SetAside(f"{'; '.join(map(printable, others))}: ask for {name}.ipynb.")
        return None
    ranked.sort(key=lambda pair: pair[0], reverse=True)
    best = ranked[0][1]
    said += others
    if len(ranked) > 1:
        rest = ", ".join(candidate.path for _, candidate in ranked[1:4])
        said.append(f"handed in more than one notebook; {best.path} is graded, not {rest}")
    return best


def _is_check(cell: NotebookNode) -> bool:
    told = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and bool(told.get("grade")) and not told.get("solution")


def _is_of_another(stem: str, name: str) -> bool:
    """Whether a file's name is that of another assignment of the kind ``a2_training``."""
    mine, its = (re.match(r"[a-z]+\d+(?=[_-])", text.casefold()) for text in (name, stem))
    return bool(mine and its and mine[0] != its[0])


def candidates(folder: str | os.PathLike) -> list[Candidate]:
    """The notebooks of a submission: files that end like one, and are one."""
    found, left = [], 2 * MAX_FILE
    for shown, status in files_in(folder):
        if NOTEBOOK.search(shown) and len(found) < 50:
            try:
                text = read_text(os.path.join(folder, shown), min(left, MAX_FILE))
            except SetAside:
                text = b""
            left -= len(text)
            found.append(Candidate(shown, text, status.st_mtime))
    return found


# --- for nbgrader's own commands ---


class Reader(NotebookExporter):
    """nbgrader's exporter of notebooks, with the one reader in the place of nbformat's."""

    def from_filename(self, filename, resources=None, **kw):
        folder = Path(filename).parent
        if folder.name and "autograded" in folder.parts:  # written by nbgrader itself
            return super().from_filename(filename, resources=resources, **kw)
        notebook = parse_notebook(read_text(filename), os.path.basename(filename))
        return self.from_notebook_node(notebook, resources=resources, **kw)


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

# Moodle: "John Smith_1234_assignsubmission_file_/a1_convolution.ipynb", with a folder or not.
MOODLE = re.compile(r"(?P<name>.+?)_(?P<number>\d+)_assignsubmission_[a-z]+_?(?P<file>.*)")
FLAT = tuple(
    map(
        re.compile,
        (
            # Canvas: smithjohn_LATE_1234_56789_a1_convolution-2.ipynb; 1234 is the student's
            # number, 56789 counts the attempts. The second is its form without names.
            r"(?P<name>.+?)(?:_LATE)?_(?P<number>\d+)_(?P<attempt>\d+)_(?P<file>.+)",
            r"(?P<name>anon_\w{3,9}?)(?:_LATE)?_(?P<attempt>\d+)_(?P<file>.+)",
            # Blackboard: a1_smithj_attempt_2026-11-27-10-00-00_a1_convolution.ipynb
            r"(?P<name>.+?)_attempt_(?P<attempt>[\d-]+)_(?P<file>.+)",
            # Brightspace: 123-456 - John Smith - Nov 27, 2026 1000 AM - a1_convolution.ipynb
            r"(?P<code>\d+-\d+) - (?P<name>.+?) - (?P<date>.+?) - (?P<file>.+)",
        ),
    )
)


BRIGHTSPACE = re.compile(r"(?P<code>\d+-\d+) - (?P<name>.+?) - (?P<date>.+)")  # a folder
VERSION = re.compile(r"Version (\d+)")  # Teams: Submitted files/John Smith/a1/Version 2/...


def _flat(name: str, meant: Iterable[str]) -> re.Match | None:
    """Whose a file is by its name; Google Classroom's is "Ann Ex - a1_convolution.ipynb"."""
    given = "|".join(map(re.escape, meant))
    copied = re.compile(rf"(?P<name>.+) - (?P<file>(?:{given})(?P<again>.*)\.ipynb)", re.IGNORECASE)
    return next((match for p in (*FLAT, copied) if (match := p.fullmatch(name))), None)


@dataclass
class _Member:
    parts: tuple[str, ...]
    size: int = 0
    when: float = 0.0
    read: Callable[[], bytes] = bytes
    attempt: int = 0
    unseen: str = ""  # why it is not taken; whose it is gets a row


def collect(
    source: str | os.PathLike,
    assignment: str,
    submitted: str | os.PathLike,
    releases: dict[str, NotebookNode] | None = None,
    left_out: dict[str, str] | None = None,
    taken: list[str] | None = None,
) -> list[str]:
    """Put submissions from a folder or a zip of Canvas or Moodle where nbgrader expects them.

    Folders that wrap everything are taken off, and zips of one student are opened, one level
    deep.

    Parameters
    ----------
    releases : dict of str to notebook, optional
        What was handed out, by the notebooks' names: by it a student's notebook is known.
    left_out : dict, optional
        Gets an entry for everybody whose work could not be taken, with the reason.
    taken : list, optional
        Gets everybody whose work was taken.

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
    left_out = {} if left_out is None else left_out
    taken = [] if taken is None else taken
    owners: dict[str, list[_Member]] = defaultdict(list)
    meant = list(releases or [assignment])
    with _members(Path(source), said) as members:
        names: dict[str, set[str]] = defaultdict(set)  # as they stand in the archive
        for whose, student, member in _owned(list(members), assignment, meant, said, left_out):
            owners[student].append(member)
            names[student].add(whose)
        for student, theirs in sorted(owners.items()):
            reasons: list[str] = []
            try:
                if len(names[student]) > 1:
                    several = ", ".join(sorted(names[student]))
                    raise SetAside(f"is it one person or several ({several})? Rename, or merge.")
                seen = [member for member in theirs if not member.unseen]
                if not seen:
                    raise SetAside("; ".join(member.unseen for member in theirs[:5]))
                target = Path(submitted, student, assignment)
                _take(seen, assignment, target, releases, reasons, lonely=len(owners) == 1)
                taken.append(student)
            except Exception as error:  # whatever it is, it is one student's
                why = str(error) if isinstance(error, SetAside) else f"cannot be taken ({error})"
                left_out[student] = printable(why)
            said += [f"{student}: {reason}" for reason in reasons]
    said = [printable(sentence) for sentence in said]
    if not taken:
        reasons = [f"{name}: {why}" for name, why in left_out.items()] + said
        more = f" ({'; '.join(reasons[:5])})" if reasons else ""
        raise SetAside(printable(f"{source} holds no submission{more}."))
    return said


def _owned(members: list, assignment: str, meant: list, said: list, left_out: dict) -> Iterator:
    """Members with the student whose they are, by name and by id; what nobody owns is told."""
    flat: list[_Member] = []
    for member in members:
        for depth, part in enumerate(member.parts):
            if match := MOODLE.fullmatch(part):
                rest = (*((match["file"],) if match["file"] else ()), *member.parts[depth + 1 :])
                if rest:
                    member.parts = rest
                    yield match["name"], _student(match["name"], match["number"]), member
                break
        else:
            flat.append(member)
    flat = _unwrapped(flat, assignment, meant)
    heads = {m.parts[0].partition("_attempt_")[0] for m in flat if "_attempt_" in m.parts[0]}
    common = os.path.commonprefix([*heads]).rpartition("_")[0]  # noqa: RUF071 (of Blackboard's names)
    for member in flat:
        name, *rest = member.parts
        if rest:
            match = BRIGHTSPACE.fullmatch(name)
            told = match.groupdict() if match else {"name": name}
        elif match := _flat(
            name.removeprefix(f"{common}_") if "_attempt_" in name else name, meant
        ):
            told, rest = match.groupdict(), [match["file"]]
        else:
            if not member.unseen:
                said.append(f"{name}: whose is it?")
            if member.unseen or _is_work(name):
                asked = "whose is it? Neither a folder nor its name says so."
                left_out[printable(name)] = member.unseen or asked
            continue
        member.parts = tuple(rest)
        if counted := re.sub(r"\D", "", told.get("attempt") or ""):
            member.attempt = int(counted)
        elif "date" in told:
            member.attempt = _minute(told["date"])
        # Of two files that Classroom names alike, one may be another person's of that name.
        whose = f"{told.get('code', '')} {told['name']}{told.get('again', '')}".strip()
        yield whose, _student(told["name"], told.get("number") or ""), member


def _minute(date: str) -> int:
    """The number of a minute that is written like ``Nov 27, 2026 105 PM``; 0 if it is not."""
    try:
        told = datetime.strptime(re.sub(r"\b(\d{3} [AP]M)", r"0\1", date), "%b %d, %Y %I%M %p")
        return int(told.replace(tzinfo=UTC).timestamp()) // 60
    except ValueError:
        return 0


PACKED = (".zip", ".7z", ".rar", ".tar", ".gz", ".tgz")


def _is_work(name: str) -> bool:
    return bool(NOTEBOOK.search(name)) or name.lower().endswith(PACKED)


def _unwrapped(members: list[_Member], assignment: str, meant: list[str]) -> list[_Member]:
    """Without the folders around all students: what holds the work is a student's own folder."""
    for member in members:
        *folders, name = member.parts
        for version in filter(None, map(VERSION.fullmatch, folders)):
            member.attempt = int(version[1])
        kept = [p for p in folders if p != assignment and not VERSION.fullmatch(p)]
        member.parts = (*kept, name)
    while True:
        seen = [m.parts for m in members if not m.unseen and len(m.parts) > 1]
        work = [parts for parts in seen if _is_work(parts[-1])]
        heads = {parts[0] for parts in work}
        inside = {parts[1] for parts in work if len(parts) > 2}
        loose = [parts for parts in seen if len(parts) == 2 and parts[0] in heads]
        if len(heads) != 1:
            return members
        if not any(_flat(parts[1], meant) for parts in loose) and (
            not inside or (loose and len(inside) == 1)
        ):
            return members
        for member in members:
            if member.parts[0] in heads and len(member.parts) > 1:
                member.parts = member.parts[1:]


def _student(name: str, number: str) -> str:
    """A student's id, the same for all ways in which Unicode writes the name."""
    marks = "".join(c for c in set(name) if unicodedata.category(c).startswith("M"))  # of vowels
    name = re.sub(rf"[^\w.{marks}-]+", "_", unicodedata.normalize("NFC", name)).strip("._")
    name = name.encode("utf-8", "replace")[:100].decode("utf-8", "ignore") or "student"
    return f"{name}_{number}" if number else name


def _take(
    members: list[_Member], assignment: str, target: Path, releases, said: list, lonely: bool
) -> None:
    """One student's work into the folder ``target``; ``lonely`` if nobody else's was there."""
    opened: list[_Member] = []
    reasons: list[str] = []
    for member in members:
        if member.parts[-1].lower().endswith(".zip") and member.size <= MAX_FILE:
            try:
                opened += _inner(member, reasons)
            except (OSError, zipfile.BadZipFile, RuntimeError, ValueError) as error:
                reasons.append(f"{'/'.join(member.parts)} cannot be opened ({error})")
        else:
            opened.append(member)
    notebooks, files, left = [], [], 2 * MAX_FILE
    for member in sorted(opened, key=lambda m: (m.attempt, m.when), reverse=True):
        shown = "/".join(member.parts)
        if member.size > min(MAX_FILE, left):
            reasons.append(
                f"{shown}: more than {MAX_FILE // MIB} MiB, or with the others twice that"
            )
        elif NOTEBOOK.search(shown):
            notebooks.append(Candidate(shown, member.read(), member.when, member.attempt))
            left -= member.size
        elif PurePosixPath(shown).suffix.lower() in ALLOWED:
            files.append(member)
            left -= member.size
        else:
            reasons.append(f"{shown}: files of this kind are not used")
    said += reasons
    folders = {c.path.rpartition("/")[0] for c in notebooks}
    if len(folders) > 1 and "" not in folders:
        raise SetAside(
            f"there are notebooks in {len(folders)} folders of it "
            f"({', '.join(sorted(folders)[:3])}): are they several people's?"
        )
    chosen = {}
    for name, release in (releases or {assignment: None}).items():
        if (best := choose(notebooks, name, release, said)) is not None:
            chosen[f"{name}.ipynb"] = best.text
    worked = [c.path for c in notebooks if c.worked and c.attempt == notebooks[0].attempt]
    if lonely and len(worked) > len(releases or [assignment]):
        raise SetAside(
            f"{', '.join(worked[:5])} lie in one folder, and there is no other: are they several "
            "people's? Give each a folder, or leave one."
        )
    if not chosen:
        raise SetAside("; ".join(["no notebook is there", *reasons[:5]]))
    if len(files) > MAX_FILES:
        said.append(f"more than {MAX_FILES} files: the first are kept")
    target.mkdir(parents=True, exist_ok=True)
    for member in reversed(files[:MAX_FILES]):  # of two of a name the newest stays
        path = target.joinpath(*member.parts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(member.read())
        except OSError as error:
            if error.errno not in (errno.ENAMETOOLONG, errno.EEXIST, errno.ENOTDIR, errno.EISDIR):
                raise
            said.append(f"{'/'.join(member.parts)[:80]} cannot be kept ({error.strerror})")
    for name, text in chosen.items():
        (target / name).write_bytes(text)


def _inner(member: _Member, said: list[str]) -> Iterator[_Member]:
    """What a student's own zip holds."""
    for inner in _zipped(zipfile.ZipFile(io.BytesIO(member.read())), said):
        inner.attempt = member.attempt
        yield inner


@contextlib.contextmanager
def _members(source: Path, said: list[str]) -> Iterator[Iterator[_Member]]:
    """The members of a folder or a zip; links, bombs and systems' litter are left out."""
    if source.is_dir():
        yield _walked(source, said)
        return
    try:
        archive = zipfile.ZipFile(source)
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile) as error:
        raise SetAside(f"{source} is neither a folder nor a zip file ({error}).") from None
    with archive:
        yield _zipped(archive, said)


def _walked(source: Path, said: list[str]) -> Iterator[_Member]:
    for entry in _walk(source):
        shown = os.path.relpath(entry.path, source)
        parts = _parts(shown)
        if entry.is_dir(follow_symlinks=False):
            with contextlib.suppress(OSError):  # a path of 4096 bytes
                if not os.listdir(entry.path):
                    yield from _unseen(f"{shown}/")
        elif not parts:
            yield from _unseen(shown)
        elif entry.is_file(follow_symlinks=False):
            status = entry.stat(follow_symlinks=False)
            read = partial(read_text, entry.path)
            yield _Member(parts, status.st_size, status.st_mtime, read)
        else:
            yield _refused(parts, f"{shown}: links are not followed", said)


def _zipped(archive: zipfile.ZipFile, said: list[str]) -> Iterator[_Member]:
    total = 0
    members = sorted(archive.infolist(), key=lambda m: m.filename)
    for number, member in enumerate(members):
        parts = _parts(member.filename)
        if member.is_dir() or not parts:
            after = members[number + 1].filename if member is not members[-1] else ""
            if not (member.is_dir() and after.startswith(member.filename)):
                yield from _unseen(member.filename)
            continue
        total += min(member.file_size, MAX_FILE)
        if number >= MAX_MEMBERS or total > 100 * MAX_FILE:
            raise SetAside(f"The archive holds more than {MAX_MEMBERS:,} files or 10 GB.")
        if stat.S_ISLNK(member.external_attr >> 16):
            yield _refused(parts, f"{member.filename}: links are not followed", said)
        elif member.file_size > 200 * max(member.compress_size, 4096):
            many = f"{member.filename}: unpacks to {member.file_size // MIB} MiB"
            yield _refused(parts, many, said)
        else:
            when = time.mktime((*member.date_time, 0, 0, -1)) if member.date_time[1] else 0.0
            yield _Member(parts, member.file_size, when, lambda m=member: archive.read(m))


def _parts(name: str) -> tuple[str, ...]:
    """A member's path in parts that stay below where they are put; () for what is hidden."""
    parts = _split(name)
    return () if any(map(_is_litter, parts)) else parts


def _split(name: str) -> tuple[str, ...]:
    parts = [unicodedata.normalize("NFC", p) for p in name.replace("\\", "/").split("/")]
    return tuple(re.sub(r"[\x00-\x1f]", "_", p) for p in parts if p not in ("", ".", ".."))


SYSTEMS = re.compile(r"(__MACOSX|__pycache__|\.(_.*|~.*|git|ipynb_checkpoints|virtual_documents))")


def _refused(parts: tuple[str, ...], why: str, said: list[str]) -> _Member:
    said.append(why)
    return _Member(parts, unseen=why)


def _unseen(name: str) -> Iterator[_Member]:
    """What tells of a person and is not taken: an empty folder, or work with a hidden name."""
    parts = _split(name)
    if parts and not any(map(SYSTEMS.fullmatch, parts)):
        if name.endswith(("/", "\\")) and not parts[-1].startswith("."):
            yield _Member((*parts, ""), unseen="nothing is there")
        elif _is_work(parts[-1]):
            yield _Member(parts, unseen=f"{name} is hidden by its name")
