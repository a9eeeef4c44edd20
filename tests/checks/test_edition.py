"""The student's edition: it judges as ``tasks.py`` does, and gives nothing away."""

import json
import os
import re
import zipfile
from dataclasses import replace
from functools import cache

import numpy as np
import pytest
from grader_quality import ASSIGNMENTS, BY_ID, TASKS, right_answers
from test_judge import DOUBLE, NUMBERS

from cnnlab.answers import answer, wire
from cnnlab.assignments import get_task, load_tasks, tasks_from
from cnnlab.assignments.edition import FORMAT, MAX_BYTES, read_edition, write_edition
from cnnlab.assignments.sealed import Sealed, opened, seal
from cnnlab.checks import TasksError, judge, seed_for
from cnnlab.checks.task import READ

FOLDER = {task_id: folder for folder in ASSIGNMENTS for task_id in load_tasks(folder)}


@pytest.fixture(scope="session")
def editions(generated_course):
    """The tasks of every assignment, read from its release."""

    @cache
    def edition(folder):
        name = folder.name
        return read_edition(generated_course / "assignments" / name / f"{name}.checks")

    return edition


SLOW = ("source", "weights")
QUICK = [pytest.param(t.id, id=t.id) for t in TASKS if t.kind not in SLOW]
OTHERS = [pytest.param(t.id, id=t.id, marks=pytest.mark.slow) for t in TASKS if t.kind in SLOW]


@pytest.mark.parametrize("task_id", [*QUICK, *OTHERS])
def test_it_gives_the_points_and_the_words_of_the_tasks_themselves(editions, task_id):
    task, read = BY_ID[task_id], editions(FOLDER[task_id])[task_id]
    asked, known = (one.make_cases(seed_for(task_id)) for one in (read, task))
    answers = [*right_answers(task), task.reference, *(m.answer for m in task.misconceptions)]
    for given in answers:
        namespace = {task.entry: given() if task.kind in READ else given}
        report = answer(task.kind, task.entry, read.questions(asked), namespace)
        theirs, ours = (judge(*one, report, reveal=True) for one in ((read, asked), (task, known)))
        assert theirs == ours


@pytest.mark.parametrize("folder", ASSIGNMENTS, ids=lambda folder: folder.name)
def test_it_is_small_data_without_code(generated_course, folder):
    path = generated_course / "assignments" / folder.name / f"{folder.name}.checks"
    assert path.stat().st_size <= MAX_BYTES
    with zipfile.ZipFile(path) as archive:
        assert all(name.endswith(".npy") for name in archive.namelist())
        tree = json.loads(archive.read("tree.npy").partition(b"\n")[2])
    text = json.dumps(tree)
    assert "def " not in text and "lambda" not in text and "__global__" not in text


@pytest.mark.parametrize("task", [t for t in TASKS if t.kind == "value"], ids=lambda task: task.id)
def test_no_number_of_a_table_stands_in_it(editions, task):
    def numbers(value):
        if isinstance(value, dict):
            return [n for v in value.values() for n in numbers(v)]
        long = isinstance(value, (int, float)) and (abs(value) > 999 or len(str(value)) > 6)
        return [value] if long else []

    read = editions(FOLDER[task.id])[task.id]
    records = [read.reference.records, *(m.answer.records for m in read.misconceptions)]
    known = str(records)
    secrets = numbers(task.reference()) + [
        n for m in task.misconceptions for n in numbers(m.answer())
    ]
    assert secrets and not [n for n in secrets if str(n) in known]


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "t.checks"
    write_edition(path, {task.id: task for task in (DOUBLE, NUMBERS)}, "t")
    return path


def test_it_reads_back_what_was_written(written):
    read = read_edition(written)
    assert list(read) == ["t-double", "t-numbers"]
    assert read["t-double"].forbidden == DOUBLE.forbidden
    assert dict(read["t-numbers"].points) == NUMBERS.points


@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda path: path.unlink(), "is not there"),
        (lambda path: path.write_bytes(path.read_bytes()[:2000]), "cannot be read"),
        (lambda path: path.write_bytes(b""), "cannot be read"),
        (lambda path: path.write_text("{}"), "cannot be read"),
        (lambda path: path.unlink() or path.mkdir(), "is not a regular file"),
        (lambda path: path.rename(path.with_suffix("")) and path.symlink_to("t"), "is not there"),
        (lambda path: path.unlink() or os.mkfifo(path), "is not a regular file"),
        (lambda path: np.savez(path.open("wb"), tree=np.array([{}], object)), "cannot be read"),
        (lambda path: np.savez(path.open("wb"), a=np.zeros(3)), "not in the expected form"),
        (lambda path: _save(path, {"format": FORMAT}), "is damaged"),
        (lambda path: _save(path, {"format": FORMAT, "tasks": [{"data": {"id": "x"}}]}), "damaged"),
        (lambda path: _save(path, [1, 2]), "holds no checks"),
        (lambda path: _save(path, {"format": 99, "tasks": []}), "is of format 99"),
        (lambda path: _save(path, {"format": FORMAT, "tasks": [{"data": {}}]}), "is damaged"),
        (lambda path: _save(path, {"format": FORMAT, "tasks": 3}), "is damaged"),
    ],
)
def test_a_file_that_is_none_is_refused_in_a_sentence(written, spoil, words):
    spoil(written)
    with pytest.raises(TasksError, match=words) as found:
        read_edition(written)
    assert len(str(found.value).splitlines()) == 1


def _save(path, value):
    path.unlink()
    wire.save(path, value)


def test_check_says_what_is_wrong_with_its_file_and_the_notebook_goes_on(
    written, monkeypatch, capsys
):
    from cnnlab import check

    monkeypatch.chdir(written.parent)
    monkeypatch.setitem(globals(), "double", lambda x, shift=0.0: 2 * x + shift)
    assert check("t-double") == 5
    written.write_bytes(b"PK")
    assert check("t-double") == 0
    assert "t-double: not checked. t.checks cannot be read" in capsys.readouterr().out


def test_without_a_course_around_and_a_file_beside_the_reason_is_told(tmp_path):
    with pytest.raises(TasksError, match=r"ends in \.checks has to lie beside the notebook"):
        get_task("t-double", tmp_path)


def test_a_foreign_file_is_named(written):
    with pytest.raises(TasksError, match=r"t\.checks is another assignment's"):
        get_task("a1-padding", written.parent)


def failing(*_, **__):
    raise IndexError("no such row\nat all")


@pytest.mark.parametrize(
    "change, words",
    [
        ({"reference": failing}, "t-double: its reference does not answer its cases"),
        ({"cases": failing}, "t-double cannot be asked: IndexError: no such row."),
        ({"cases": lambda rng: 3}, "t-double cannot be asked: TypeError"),
        ({"cases": lambda rng: [3]}, "t-double cannot be asked: AttributeError"),
        ({"points": {"small": 2}}, "parts without cases or points"),
    ],
)
def test_a_task_that_cannot_be_asked_is_told_in_a_sentence(tmp_path, change, words):
    task = replace(DOUBLE, misconceptions=(), **change)
    with pytest.raises(TasksError, match=words) as found:
        write_edition(tmp_path / "t.checks", {task.id: task}, "t")
    assert len(str(found.value).splitlines()) == 1


def test_a_table_that_cannot_be_sealed_is_told_in_a_sentence(tmp_path):
    task = replace(NUMBERS, reference=lambda: {"a": 3 + 1j, "b": 1}, misconceptions=())
    with pytest.raises(TasksError, match="t-numbers cannot be asked: TypeError: a table of num"):
        write_edition(tmp_path / "t.checks", {task.id: task}, "t")


@pytest.mark.parametrize(
    "text, words",
    [
        ("\0", "it raises"),
        ("raise SystemExit(3)", "line 1 raises SystemExit: 3"),
        ("def f(): f()\nf()", "line 1 raises RecursionError"),
        ("TASKS = 3", "has no list TASKS"),
        ("", "has no list TASKS"),
        ("TASKS = [Task(3, 'value', 'x', {'a': 1}, int)]", "the id is text"),
        ("TASKS = [Task('t', 'value', 'x', {'a': '1'}, int)]", "line 2 raises TypeError"),
        ("TASKS = [Task('t', 'value', 'x', {'a': float('nan')}, int)]", "points are numbers"),
        (
            "TASKS = [Task('t', 'value', 'x', {'a': 1}, int, misconceptions=[('a', int, 'b')])]",
            "`misconceptions` holds `Misconception` objects",
        ),
    ],
)
def test_tasks_that_cannot_be_used_are_told_in_a_sentence(text, words):
    with pytest.raises(TasksError, match=re.escape(words)) as found:
        tasks_from(f"from cnnlab.checks import Task\n{text}" if "Task(" in text else text)
    assert len(str(found.value).splitlines()) == 1


@pytest.mark.parametrize(
    "beside", ["", "[]", "{}", "3", '{"metadata": []}', '{"metadata": {"cnnlab": 3}}']
)
def test_a_notebook_beside_that_is_none_does_not_matter(written, beside):
    written.with_suffix(".ipynb").write_text(beside)
    assert list(read_edition(written)) == ["t-double", "t-numbers"]


def test_what_is_too_large_is_refused(tmp_path):
    from cnnlab.checks import Case

    large = replace(
        DOUBLE,
        cases=lambda rng: [Case(part, (rng.normal(size=(300, 300)),)) for part in DOUBLE.points],
        reference=lambda x, shift=0.0: np.asarray(2 * x + shift),
        misconceptions=(),
    )
    with pytest.raises(TasksError, match="1.0 MB is the most"):
        write_edition(tmp_path / "t.checks", {large.id: large}, "t")
    assert not (tmp_path / "t.checks").exists()


@pytest.mark.parametrize(
    "value, same, other",
    [
        (3, [3, 3.0], [4, 2.999, True, "3", None]),
        (0.5, [0.5, 0.50001, 0.49999], [0.501, -0.5, 0, 5]),
        (-2.0e7, [-2.0e7, -20000100.0], [2.0e7, -2.01e7]),
        (0.0, [0, 0.0, 1e-9], [1e-3, 1]),
        ("VGG", ["vgg", " VGG "], ["resnet", 3]),
        (True, [True], [False, 1, "True", None]),
        (None, [None], [False, 0, "None"]),
    ],
)
def test_a_sealed_value_is_recognized_and_nothing_else(value, same, other):
    sealed = opened(seal(value, "salt", 1e-4, 1e-6))
    assert isinstance(sealed, Sealed)
    assert all(sealed.matches(v) for v in same)
    assert not any(sealed.matches(v) for v in other)
