"""Points, comments and penalties into nbgrader's gradebook: a batch of submissions at once.

What is written is, row by row, what nbgrader's own ``autograde`` writes, with nbgrader's own model.
It takes a handful of statements a batch, for any database, and none of them depends on what was
read before: a person may mark by hand meanwhile. Committing is the caller's.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

from nbgrader.api import (
    Assignment,
    Comment,
    Grade,
    MissingEntry,
    Student,
    SubmittedAssignment,
    SubmittedNotebook,
    new_uuid,
)  # fmt: skip
from nbgrader.plugins import BasePlugin
from nbgrader.utils import parse_utc
from sqlalchemy import Boolean, and_, bindparam, insert, or_, select, update
from sqlalchemy.orm import Session

__all__ = ["Standing", "enter", "standings"]


@dataclass
class Standing:
    """What the gradebook says of a submission."""

    scores: dict[str, float | None] = field(default_factory=dict)  # automatic, by cell
    waiting: list[str] = field(default_factory=list)  # the cells that a person has to mark
    points: float = 0.0  # all that was given, also by hand
    penalty: float = 0.0
    late: float = 0.0  # seconds
    max_score: float = 0.0
    notebooks: dict[str, tuple[str, float]] = field(default_factory=dict)  # id and points by name

    @property
    def score(self) -> float:
        """What counts."""
        return max(0.0, self.points - self.penalty)


def enter(
    db: Session,
    name: str,
    results: dict[str, dict],
    late: BasePlugin | None = None,
    create_students: bool = True,
) -> dict[str, Standing]:
    """Enter what was found in some students' submissions of the assignment ``name``.

    Parameters
    ----------
    results : by student
        ``scores`` and ``comments`` by notebook and cell, and ``timestamp``.
    late : optional
        nbgrader's plugin that says what lateness costs.
    """
    assignment = _assignment(db, name)
    known = set(db.scalars(select(Student.id).where(Student.id.in_(list(results)))))
    if (new := sorted(results.keys() - known)) and not create_students:
        raise MissingEntry(f"the gradebook has no student {new[0]}")
    rows = {
        model: [] for model in (Student, SubmittedAssignment, SubmittedNotebook, Grade, Comment)
    }
    rows[Student] = [{"id": student} for student in new]
    for student in sorted(results.keys() - _submissions(db, assignment, results).keys()):
        rows[SubmittedAssignment].append(
            {"id": (id_ := new_uuid()), "assignment_id": assignment.id, "student_id": student}
        )
        for notebook in assignment.notebooks:
            rows[SubmittedNotebook].append(
                {"id": (its := new_uuid()), "assignment_id": id_, "notebook_id": notebook.id}
            )
            graded = [*notebook.grade_cells, *notebook.task_cells]
            commented = [*notebook.solution_cells, *notebook.task_cells]
            for model, cells in ((Grade, graded), (Comment, commented)):
                rows[model] += [{"notebook_id": its, "cell_id": cell.id} for cell in cells]
    for model, new in rows.items():
        if new:
            db.execute(insert(model), new)
    submissions = _submissions(db, assignment, results)
    for student, result in results.items():
        if result["timestamp"]:
            submissions[student].timestamp = parse_utc(result["timestamp"])
    found = _standings(db, assignment, submissions)
    _write_cells(db, assignment, results, found)
    if late is not None:
        _write_penalties(db, results, _standings(db, assignment, submissions), late)
    return _standings(db, assignment, submissions)


def standings(
    db: Session, name: str, students: Iterable[str], late: BasePlugin | None = None
) -> dict[str, Standing]:
    """What the gradebook says of these students' submissions, where it knows any.

    With ``late``, what lateness costs is worked out anew: an extension may have been granted, or
    the due date moved.
    """
    assignment = _assignment(db, name)
    submissions = _submissions(db, assignment, students)
    found = _standings(db, assignment, submissions)
    if late is None:
        return found
    rows = {student: {"scores": standing.notebooks} for student, standing in found.items()}
    _write_penalties(db, rows, found, late)
    return _standings(db, assignment, submissions)


def _assignment(db: Session, name: str) -> Assignment:
    return db.scalars(select(Assignment).where(Assignment.name == name)).one()


def _submissions(db: Session, assignment: Assignment, students: Iterable[str]) -> dict:
    mine = SubmittedAssignment.assignment_id == assignment.id
    chosen = select(SubmittedAssignment).where(
        mine, SubmittedAssignment.student_id.in_(list(students))
    )
    return {found.student_id: found for found in db.scalars(chosen)}


def _standings(db: Session, assignment: Assignment, submissions: dict) -> dict[str, Standing]:
    most = assignment.max_score
    found = {
        student: Standing(late=submission.total_seconds_late, max_score=most)
        for student, submission in submissions.items()
    }
    names = {notebook.id: notebook.name for notebook in assignment.notebooks}
    cells = {
        cell.id: cell.name
        for notebook in assignment.notebooks
        for cell in (*notebook.grade_cells, *notebook.task_cells)
    }
    owners = {submission.id: student for student, submission in submissions.items()}
    # Both tables are asked by their unique columns, in the order of their index.
    columns = SubmittedNotebook.id, SubmittedNotebook.assignment_id
    columns += SubmittedNotebook.notebook_id, SubmittedNotebook.late_submission_penalty
    of = {}
    for id_, submission, notebook, penalty in db.execute(
        select(*columns).where(
            SubmittedNotebook.notebook_id.in_(list(names)),
            SubmittedNotebook.assignment_id.in_(list(owners)),
        )
    ):
        of[id_] = standing, name = found[owners[submission]], names[notebook]
        standing.notebooks[name] = id_, 0.0
        standing.penalty += penalty or 0.0
    columns = Grade.notebook_id, Grade.cell_id, Grade.auto_score, Grade.score
    for id_, cell, automatic, score, waits in db.execute(
        select(*columns, Grade.needs_manual_grade).where(
            Grade.cell_id.in_(list(cells)), Grade.notebook_id.in_(list(of))
        )
    ):
        standing, name = of[id_]
        standing.scores[cells[cell]] = automatic
        standing.points += score
        standing.notebooks[name] = id_, standing.notebooks[name][1] + score
        if waits:
            standing.waiting.append(cells[cell])
    return found


def _write_cells(db: Session, assignment: Assignment, results: dict, found: dict) -> None:
    grades, comments = [], []
    for notebook in assignment.notebooks:
        graded = {cell.name: cell.id for cell in notebook.grade_cells}
        commented = {cell.name: cell.id for cell in notebook.solution_cells}
        commented |= {cell.name: cell.id for cell in notebook.task_cells}
        for student, result in results.items():
            its = found[student].notebooks[notebook.name][0]
            given = result["scores"].get(notebook.name)
            there = given is not None
            for name, score in (given if there else dict.fromkeys(graded, 0.0)).items():
                row = {"its": its, "of": graded[name], "score": score}
                grades.append(row | {"unsaid": score is None, "there": there})
            for name, text in result["comments"].get(notebook.name, {}).items():
                comments.append({"its": its, "of": commented[name], "text": text})
    table = Grade.__table__.c
    marked = or_(table.manual_score.is_not(None), bindparam("unsaid", type_=Boolean))
    _update(
        db, Grade, grades,
        auto_score=bindparam("score"),
        needs_manual_grade=and_(bindparam("there", type_=Boolean), marked),
    )  # fmt: skip
    _update(db, Comment, comments, auto_comment=bindparam("text"))


def _update(db: Session, model: type, rows: list[dict], **values) -> None:
    table = model.__table__
    mine = table.c.notebook_id == bindparam("its"), table.c.cell_id == bindparam("of")
    if rows:
        db.connection().execute(update(table).where(*mine).values(**values), rows)


def _write_penalties(db: Session, results: dict, found: dict, plugin: BasePlugin) -> None:
    table, rows = SubmittedNotebook.__table__, []
    for student, result in results.items():
        for name in result["scores"]:
            (id_, points), late = found[student].notebooks[name], found[student].late
            cost = plugin.late_submission_penalty(student, points, late) if late > 0 else None
            if cost is not None:
                cost = points if cost > points else max(cost, 0)
            rows.append({"its": id_, "cost": cost})
    if not rows:
        return
    change = update(table).where(table.c.id == bindparam("its"))
    db.connection().execute(change.values(late_submission_penalty=bindparam("cost")), rows)
