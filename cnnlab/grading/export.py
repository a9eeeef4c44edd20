"""Points as tables: for a spreadsheet, and in the form that a learning platform takes back.

Canvas, Moodle, Blackboard, Brightspace, Sakai and Google Classroom give out a file with a line a
student; all but the last take it back with points filled in. So such a file is filled in, and
everything else of it stays as it is. What does not fit is an error that lists it, and no file is
written. No cell that is written is one that a spreadsheet would compute.
"""

import csv
import io
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from nbgrader.api import Gradebook, Student
from nbgrader.apps.api import NbGraderAPI
from nbgrader.plugins import CsvExportPlugin

from cnnlab.grading.folder import GradingError, configuration, full_name, inside
from cnnlab.grading.gradebook import Standing, standings

__all__ = ["CsvExport", "fill_in"]

# What the platforms call the columns that name a student.
IDS = (
    "id", "identifier", "id number", "student id", "user id", "sis user id", "sis login id",
    "orgdefinedid", "username", "email", "email address",
)  # fmt: skip
NAMES = ("student", "student name", "full name", "name")
PARTS = ("first name", "last name", "surname")
# And the column of an assignment's points, around its title: Moodle's and Canvas' (with its
# number), Brightspace's, Sakai's and Blackboard's.
TITLE = re.compile(
    r"(?:assignment: )?(.*?)"
    r"(?: \((?:real|(\d+))\)| points grade <.*>| \[.*\](?: ?\|(\S+))?)?",
    re.DOTALL | re.IGNORECASE,
)

MARKS = (b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16")


def inert(cell: object) -> str:
    """A cell's text, behind an apostrophe if a spreadsheet would take it for a formula."""
    text = "" if cell is None else str(cell)
    harmless = r'\s*[+-]?(\d+([.,]\d+)?)?\s*|="\w*"'  # a number, a dash, or a text of digits
    if re.match(r"\s*[=+\-@\t\r]", text) and not re.fullmatch(harmless, text):
        return "'" + text
    return text


class CsvExport(CsvExportPlugin):
    """nbgrader's own table, with names that hold commas or formulas written as text."""

    COLUMNS = (
        "assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email",
        "raw_score", "late_submission_penalty", "score", "max_score",
    )  # fmt: skip

    def export(self, gradebook: Gradebook) -> None:
        with open(self.to or "grades.csv", "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(self.COLUMNS)
            for assignment in gradebook.assignments:
                if self.assignment and assignment.name not in self.assignment:
                    continue
                submissions = {s.student_id: s for s in assignment.submissions}
                for student in gradebook.students:
                    if self.student and student.id not in self.student:
                        continue
                    row = [assignment.name, assignment.duedate, None, student.id]
                    row += [student.last_name, student.first_name, student.email, 0.0, 0.0, 0.0]
                    if found := submissions.get(student.id):
                        cost = found.late_submission_penalty
                        row[2] = found.timestamp
                        row[7:] = [found.score, cost, max(0.0, found.score - cost)]
                    writer.writerow(map(inert, [*row, assignment.max_score]))


def fill_in(
    assignment: str,
    template: str | os.PathLike,
    target: str | os.PathLike,
    course: str | os.PathLike = ".",
    *,
    column: str = "",
    by: str = "",
    unread: bool = False,
    without: Iterable[str] = (),
) -> tuple[int, list[int]]:
    """Fill an assignment's points into the file that a learning platform gave out.

    Parameters
    ----------
    template, target : path
        The platform's file, and the one to be written; they may be the same.
    column : str, optional
        The header of the column that takes the points, or the platform's number in it; otherwise
        the one that is called like the assignment, or else ``Grade``.
    by : str, optional
        The column that names the students as the gradebook does; otherwise all that are known.
    unread : bool
        Also where a written answer waits to be read.
    without : iterable of str
        Students who have no line in the file, and need none.

    Returns
    -------
    tuple of int and list of int
        How many lines got points, and the numbers of those that got none.

    Raises
    ------
    GradingError
        If the file cannot be read, its column is not clear, a student's line is missing or not
        clear, or an answer waits to be read.
    """
    table, target = _Table(Path(template)), Path(target).resolve()
    with inside(course) as folder:
        api = NbGraderAPI(config=configuration(folder))
        name = full_name(assignment, api)
        with Gradebook(api.coursedir.db_url, api.coursedir.course_id) as gradebook:
            known = _known(gradebook.students)
            here = sorted({s.id for s in gradebook.students} - set(without))
            found = {}
            for start in range(0, len(here), 500):
                found |= standings(gradebook.db, name, here[start : start + 500])
        waiting = sorted(student for student, one in found.items() if one.waiting)
        if waiting and not unread:
            raise GradingError(
                f"{name}: written answers wait to be read for {_list(waiting)}; mark them in "
                "formgrader, or export what there is with --unread."
            )
        at = table.column(name, column)
        lines = table.lines(known, by)
        if missing := sorted(found.keys() - lines.keys()):
            raise GradingError(
                f"{name}: no row of {table.name} is known to be {_list(missing)}'s. Tell the "
                "gradebook what the file says of them (login, e-mail, name, or number as "
                "lms_user_id), as in `nbgrader db student add ID --email ...`; or, for those who "
                "have left, --without ID."
            )
        for student, standing in found.items():
            table.rows[lines[student]][at] = table.number(standing)
        table.write(target)
        filled = {lines[student] for student in found}
        return len(filled), [n + 2 for n in range(len(table.rows)) if n not in filled]


class _Table:
    """A platform's file, in its own encoding and with its own separators."""

    def __init__(self, path: Path):
        try:
            data = path.read_bytes()
        except OSError as error:
            raise GradingError(f"{path} cannot be read ({error.strerror}).") from None
        self.name = path.name
        self.encoding = next((name for mark, name in MARKS if data.startswith(mark)), "utf-8")
        try:
            text = data.decode(self.encoding)
        except UnicodeDecodeError:
            self.encoding = "cp1252"  # saved by Excel
            text = data.decode(self.encoding, "replace")
        if "\0" in text:
            raise GradingError(f"{path.name} is no table in text: save it as CSV.")
        first = re.sub(r'"[^"]*"', "", text).partition("\n")[0]
        self.delimiter = max(",;\t", key=first.count)
        self.header, *self.rows = list(
            csv.reader(io.StringIO(text, newline=""), delimiter=self.delimiter)
        ) or [[]]
        for row in self.rows:
            row += [""] * (len(self.header) - len(row))
        cells = [cell for row in self.rows for cell in row]
        commas, dots = (any(re.fullmatch(rf"\d+[{m}]\d+", c) for c in cells) for m in ",.")
        self.comma = self.delimiter != "," and commas and not dots

    def number(self, standing: Standing) -> str:
        text = f"{standing.score:g}"
        return text.replace(".", ",") if self.comma else text

    def column(self, assignment: str, told: str) -> int:
        for want in [told] if told else [assignment, "Grade"]:
            found = [
                index
                for index, title in enumerate(self.header)
                if not title.startswith(("*", "#"))  # Sakai's comments
                for inner, *numbers in [TITLE.fullmatch(title.strip()).groups()]
                if _plain(want) in map(_plain, (title, inner)) or told in numbers
            ]
            if len(found) == 1:
                return found[0]
        raise GradingError(
            f"{assignment}: {self.name} has no single column of that name, but "
            f"{', '.join(self.header)}; say which with --column."
        )

    def lines(self, known: dict[str, str], by: str) -> dict[str, int]:
        """The number of each student's line: by what is one's own, or else by the name."""
        titles = [title.strip().casefold() for title in self.header]
        if by and by.casefold() not in titles:
            raise GradingError(f"{self.name} has no column {by}, but {', '.join(self.header)}.")

        def those(wanted: Iterable[str]) -> list[int]:
            told = (by.casefold(),) if by else wanted
            return [index for index, title in enumerate(titles) if title in told]

        ids, groups = those(IDS), [*([index] for index in those(NAMES)), those(PARTS)]

        def by_id(row: list[str]) -> Iterable[str | None]:
            cells = [row[i] for i in ids] + [c for c in row if not by and "@" in c]
            return (next((known[k] for k in _identity(c) if k in known), None) for c in cells)

        def by_name(row: list[str]) -> Iterable[str | None]:
            return (known.get(_words(*(row[i] for i in group))) for group in groups)

        lines: dict[str, int] = {}
        for who in (by_id, by_name):
            now: dict[str, int] = {}
            taken = set(lines.values())
            for number, row in enumerate(self.rows):
                found = set(filter(None, who(row))) - lines.keys()
                if number in taken or not found:
                    continue
                if len(found) > 1:
                    raise GradingError(
                        f"Row {number + 2} of {self.name} could be {' or '.join(sorted(found))}'s:"
                        " say with --by which column to go by."
                    )
                student = found.pop()
                if now.setdefault(student, number) != number:
                    raise GradingError(
                        f"Rows {now[student] + 2} and {number + 2} of {self.name} are both "
                        f"{student}'s."
                    )
            lines |= now
        return lines

    def write(self, path: Path) -> None:
        part = path.with_name(f".{path.name}.part")
        try:
            with open(part, "w", newline="", encoding=self.encoding) as file:
                writer = csv.writer(file, delimiter=self.delimiter)
                writer.writerows(map(inert, row) for row in [self.header, *self.rows])
            part.replace(path)
        except OSError as error:
            part.unlink(missing_ok=True)
            raise GradingError(f"{path} cannot be written ({error.strerror}).") from None


def _list(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _plain(text: str) -> str:
    """Letters and digits only, so that ``A1 Convolution`` is ``a1_convolution``."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _identity(cell: str) -> Iterable[str]:
    """A login, address or number as it stands, and a number without zeros or a word before it."""
    text = cell.strip(" \t#'\"=").casefold()
    yield text
    if number := re.fullmatch(r"(?:\D+ )?0*(\d+)", text):  # Moodle's `Participant 4711`
        yield f"~{number[1]}"


def _words(*names: str | None) -> str:
    """A name, in whatever order its words stand; not to be taken for a login."""
    text = unicodedata.normalize("NFKC", " ".join(filter(None, names))).casefold()
    return "".join(f" {word}" for word in sorted(re.findall(r"[^\W\d_]+", text)))


def _known(students: list[Student]) -> dict[str, str]:
    """Students by all that the gradebook knows of them; what two are called is nobody's."""
    known: dict[str, set[str]] = defaultdict(set)
    for student in students:
        number = re.search(r"_(\d+)$", student.id)  # where a folder's name ends with it
        for own in (student.id, student.lms_user_id, student.email, number and number[1]):
            for key in _identity(own or ""):
                known[key].add(student.id)
        for name in (_words(student.first_name, student.last_name), _words(student.id)):
            known[name].add(student.id)
    return {key: found.pop() for key, found in known.items() if key and len(found) == 1}
