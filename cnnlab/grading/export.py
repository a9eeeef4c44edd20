"""Points as tables: for a spreadsheet, and in the form in which Canvas and Moodle take them back.

Both platforms give out a file with a line a student and take back the same file with points filled
in, so their exports fill in such a file and leave everything else of it as it is::

    nbgrader export --exporter cnnlab.grading.export.CanvasExport \\
        --CanvasExport.template grades.csv --assignment a1_convolution --to upload.csv

What does not fit is an error that lists it, and no file is written. No cell that is written is one
that a spreadsheet would compute.
"""

import csv
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path

from nbgrader.api import Gradebook, MissingEntry, Student, SubmittedAssignment
from nbgrader.plugins import CsvExportPlugin, ExportPlugin
from traitlets import Bool, Unicode

__all__ = ["CannotExport", "CanvasExport", "CsvExport", "MoodleExport"]


class CannotExport(SystemExit):
    """Ends the export with a sentence."""


def inert(cell: object) -> str:
    """A cell's text, behind an apostrophe if a spreadsheet would take it for a formula."""
    text = "" if cell is None else str(cell)
    if re.match(r"\s*[=+\-@\t\r]", text) and not re.fullmatch(r"\s*[+-]?\d+([.,]\d+)?\s*", text):
        return "'" + text
    return text


def points(submission: SubmittedAssignment) -> float:
    """What counts: the score without what lateness costs."""
    return max(0.0, submission.score - submission.late_submission_penalty)


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
                for student in gradebook.students:
                    if self.assignment and assignment.name not in self.assignment:
                        continue
                    if self.student and student.id not in self.student:
                        continue
                    row = [assignment.name, assignment.duedate, None, student.id]
                    row += [student.last_name, student.first_name, student.email, 0.0, 0.0, 0.0]
                    try:
                        found = gradebook.find_submission(assignment.name, student.id)
                    except MissingEntry:
                        pass
                    else:
                        row[2] = found.timestamp
                        row[7:] = [found.score, found.late_submission_penalty, points(found)]
                    writer.writerow(map(inert, [*row, assignment.max_score]))


class _FilledIn(ExportPlugin):
    template = Unicode(help="The CSV file that the platform gave out.").tag(config=True)
    column = Unicode(
        help="The header of the column that takes the points, or the platform's number in it."
    ).tag(config=True)
    unread = Bool(help="Export also where a written answer waits to be read.").tag(config=True)
    # The columns that may name the student, the surest first.
    known_by: tuple[str, ...] = ()
    # What the points' column is called where it isn't called like the assignment.
    usual = ""

    def export(self, gradebook: Gradebook) -> None:
        path = Path(self.template)
        if not path.is_file():
            raise CannotExport(f"--{type(self).__name__}.template names no file: {path}")
        text = path.read_text(encoding="utf-8-sig")
        first = text.partition("\n")[0]
        delimiter = max(",;\t", key=first.count)
        header, *rows = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
        for name in self.assignment or [a.name for a in gradebook.assignments]:
            self._fill(name, gradebook.assignment_submissions(name), header, rows)
        with open(self.to, "w", newline="", encoding="utf-8") as file:
            file.write("\ufeff" * path.read_bytes().startswith(b"\xef\xbb\xbf"))
            csv.writer(file, delimiter=delimiter).writerows(map(inert, r) for r in [header, *rows])

    def _fill(self, name: str, submissions: list, header: list, rows: list) -> None:
        """Put an assignment's points into the rows of its students."""
        column = self._column(name, header)
        waiting = [s.student_id for s in submissions if s.needs_manual_grade]
        if waiting and not self.unread:
            raise CannotExport(
                f"{name}: written answers wait to be read for {_list(waiting)}; mark them in "
                f"formgrader, or export what there is with --{type(self).__name__}.unread=True"
            )
        known = _known(submissions)
        entered = set()
        for row in rows:
            row += [""] * (len(header) - len(row))
            told = (row[header.index(c)] for c in self.known_by if c in header)
            submission = next((known[k] for cell in told for k in _keys(cell) if k in known), None)
            if submission is None:
                continue
            if submission.student_id in entered:
                raise CannotExport(f"{name}: two lines of the file are {submission.student_id}'s")
            row[column] = f"{points(submission):g}"
            entered.add(submission.student_id)
        if missing := sorted({s.student_id for s in submissions} - entered):
            raise CannotExport(
                f"{name}: no line of {self.template} is known to be {_list(missing)}'s; what the "
                "file says of them (login, e-mail, name, or number as lms_user_id) can be told to "
                "the gradebook with `nbgrader db student add ID --email ...`"
            )

    def _column(self, name: str, header: list[str]) -> int:
        wanted = [_plain(self.column)] if self.column else [_plain(name), _plain(self.usual)]
        for want in filter(None, wanted):
            found = [
                index
                for index, title in enumerate(header)
                for title, number in [re.fullmatch(r"(.*?)(?: \((\d+)\))?", title, re.S).groups()]
                if want in (_plain(title), number, _plain(f"{title} ({number})"))
            ]
            if len(found) == 1:
                return found[0]
        raise CannotExport(
            f"{name}: the file has no single column of that name, but {', '.join(header)}; say "
            f"which with --{type(self).__name__}.column"
        )


def _list(names: list[str]) -> str:
    more = f" and {len(names) - 10} more" if len(names) > 10 else ""
    return ", ".join(names[:10]) + more


def _plain(text: str) -> str:
    """Letters and digits only, so that ``A1 Convolution`` is ``a1_convolution``."""
    return re.sub(r"[\W_]+", "", unicodedata.normalize("NFKC", text).casefold())


def _keys(cell: str) -> Iterable[str]:
    """What a cell may call a student: as it stands, and Moodle's ``Participant 4711`` by number."""
    yield _plain(cell)
    yield _plain(cell.removeprefix("Participant "))


def _names(student: Student) -> Iterable[str | None]:
    """All that the gradebook knows a student by, and the number that a folder's name ends with."""
    yield from (student.id, student.lms_user_id, student.email)
    if student.first_name and student.last_name:
        yield f"{student.first_name} {student.last_name}"
        yield f"{student.last_name}, {student.first_name}"
    if number := re.search(r"_(\d+)$", student.id):
        yield number[1]


def _known(submissions: list) -> dict[str, SubmittedAssignment]:
    """Submissions by what their student is called; a name that two have is nobody's."""
    known: dict[str, list] = {}
    for submission in submissions:
        for key in {_plain(name) for name in _names(submission.student) if name} - {""}:
            known.setdefault(key, []).append(submission)
    return {key: found[0] for key, found in known.items() if len(found) == 1}


class CanvasExport(_FilledIn):
    """Fills in the file of Canvas' gradebook (Grades, Export)."""

    known_by = ("ID", "SIS User ID", "SIS Login ID", "Student")


class MoodleExport(_FilledIn):
    """Fills in an offline grading worksheet of Moodle (one assignment each)."""

    known_by = ("Identifier", "ID number", "Email address", "Username", "Full name")
    usual = "Grade"
