"""Points in the form in which Canvas and Moodle take them back.

Both give out a file with a line a student and take back the same file with points filled in, so
each export fills in such a file and leaves everything else of it as it is::

    nbgrader export --exporter cnnlab.grading.export.CanvasExport \\
        --CanvasExport.template grades.csv --assignment a1_convolution --to upload.csv
"""

import csv
import re
from pathlib import Path

from nbgrader.plugins import ExportPlugin
from traitlets import Unicode

__all__ = ["CanvasExport", "MoodleExport"]


class _FilledIn(ExportPlugin):
    template = Unicode(help="The CSV file that the platform gave out.").tag(config=True)
    # The columns that may name the student, and the one that takes the points.
    known_by: tuple[str, ...] = ()

    def column(self, header: list[str], assignment: str) -> int | None:
        """Where the points go; None if there is no such column yet."""
        return header.index(assignment) if assignment in header else None

    def export(self, gradebook):
        path = Path(self.template)
        if not path.is_file():
            raise FileNotFoundError(f"--{type(self).__name__}.template names no file: {path}")
        with open(path, newline="", encoding="utf-8-sig") as file:
            header, *rows = csv.reader(file)
        assignments = self.assignment or [a.name for a in gradebook.assignments]
        for name in assignments:
            scores = {
                s.student_id: max(0.0, s.score - s.late_submission_penalty)
                for s in gradebook.assignment_submissions(name)
            }
            column = self.column(header, name)
            if column is None:
                header.append(name)
                column = len(header) - 1
            entered = set()
            for row in rows:
                row += [""] * (len(header) - len(row))
                names = {row[header.index(c)].strip() for c in self.known_by if c in header}
                student = _student(names - {""}, scores)
                if student is not None:
                    row[column] = f"{scores[student]:g}"
                    entered.add(student)
            if missing := sorted(scores.keys() - entered):
                self.log.warning("%s: no line for %s", name, ", ".join(missing))
        with open(self.to, "w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])


def _student(names: set[str], scores: dict) -> str | None:
    """The student whom a line is about: by name, or by the number that ends the name.

    Moodle calls number 4711 ``Participant 4711``.
    """
    names = names | {name.removeprefix("Participant ") for name in names}
    for student in scores:
        number = re.search(r"_(\d+)$", student)
        if student in names or (number and number[1] in names):
            return student
    return None


class CanvasExport(_FilledIn):
    """Fills in the file of Canvas' gradebook (Grades, Export)."""

    known_by = ("ID", "SIS User ID", "SIS Login ID", "Student")

    def column(self, header, assignment):
        """The assignment's own column: Canvas names it ``a1_convolution (4711)``."""
        pattern = re.compile(re.escape(assignment) + r"( \(\d+\))?$", re.IGNORECASE)
        return next((i for i, name in enumerate(header) if pattern.match(name)), None)


class MoodleExport(_FilledIn):
    """Fills in an offline grading worksheet of Moodle (one assignment each)."""

    known_by = ("Identifier", "ID number", "Email address", "Username", "Full name")

    def column(self, header, assignment):
        return header.index("Grade") if "Grade" in header else None
