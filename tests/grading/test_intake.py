"""What comes in: archives of learning platforms, links, sizes, and the way back out."""

import csv
import io
import os
import stat
import sys
import zipfile
from pathlib import Path

import pytest

from cnnlab.grading import intake

NOTEBOOK = b'{"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}'
NAME = "a1_convolution"


def archive(path, members: dict) -> str:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in members.items():
            file.writestr(name, content)
    return str(path)


def found(folder) -> dict:
    return {
        p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()
    }


def test_the_zip_of_canvas(tmp_path):
    source = archive(
        tmp_path / "submissions.zip",
        {
            "lovelaceada_1815_70_a1_convolution.ipynb": NOTEBOOK,
            "lovelaceada_1815_71_photo.png": b"png",
            "boolegeorge_LATE_1864_72_a1_convolution-2.ipynb": NOTEBOOK,
        },
    )
    assert intake.collect(source, NAME, tmp_path / "s") == []
    assert found(tmp_path / "s") == {
        f"lovelaceada_1815/{NAME}/{NAME}.ipynb": NOTEBOOK,
        f"lovelaceada_1815/{NAME}/photo.png": b"png",
        f"boolegeorge_1864/{NAME}/{NAME}.ipynb": NOTEBOOK,
    }


def test_the_zip_of_moodle(tmp_path):
    source = archive(
        tmp_path / "moodle.zip",
        {
            "Ada Lovelace_1815_assignsubmission_file_/My Notebook (1).ipynb": NOTEBOOK,
            "George Boole_1864_assignsubmission_file_a1.ipynb": NOTEBOOK,
            "George Boole_1864_assignsubmission_onlinetext_onlinetext.html": b"<p>",
        },
    )
    said = intake.collect(source, NAME, tmp_path / "s")
    assert set(found(tmp_path / "s")) == {
        f"Ada_Lovelace_1815/{NAME}/{NAME}.ipynb",
        f"George_Boole_1864/{NAME}/{NAME}.ipynb",
    }
    assert len(said) == 1 and "onlinetext" in said[0]


def test_a_folder_as_the_exchange_has_it(tmp_path):
    folder = tmp_path / "in" / "ada" / NAME
    folder.mkdir(parents=True)
    (folder / f"{NAME}.ipynb").write_bytes(NOTEBOOK)
    (folder / "secret.txt").symlink_to("/etc/passwd")
    said = intake.collect(tmp_path / "in", NAME, tmp_path / "s")
    assert set(found(tmp_path / "s")) == {f"ada/{NAME}/{NAME}.ipynb"}
    assert "links are not followed" in said[0]


def test_a_hostile_archive_writes_nowhere_else(tmp_path):
    link = zipfile.ZipInfo(f"eve/{NAME}/link.txt")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = tmp_path / "evil.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr(f"../../ada/{NAME}/{NAME}.ipynb", NOTEBOOK)
        file.writestr(f"eve/{NAME}/../../../up.txt", b"x")
        file.writestr("/etc/absolute/x.txt", b"x")
        file.writestr(f"eve/{NAME}/nested.zip", b"PK")
        file.writestr(f"eve/{NAME}/bomb.txt", b"0" * (50 << 20))
        file.writestr(link, "/etc/passwd")
        file.writestr(f"eve/{NAME}/{NAME}.ipynb", NOTEBOOK)
    said = " ".join(intake.collect(path, NAME, tmp_path / "s"))
    assert "nested.zip cannot be opened" in said and "links are not followed" in said
    assert "bomb.txt: unpacks to 50 MiB" in said
    assert all(p.is_relative_to(tmp_path / "s") or p == path for p in tmp_path.rglob("*.*"))
    assert not [p for p in (tmp_path / "s").rglob("*") if p.is_symlink() or p.suffix == ".zip"]


@pytest.mark.parametrize("content", [b"", b"no zip"])
def test_what_is_no_archive_is_refused_in_a_sentence(tmp_path, content):
    (tmp_path / "x.zip").write_bytes(content)
    with pytest.raises(intake.SetAside, match="neither a folder nor a zip file"):
        intake.collect(tmp_path / "x.zip", NAME, tmp_path / "s")


def test_an_empty_folder_is_refused_in_a_sentence(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(intake.SetAside, match="holds no submission"):
        intake.collect(tmp_path / "in", NAME, tmp_path / "s")


def test_links_pipes_and_devices_are_dropped_and_told(tmp_path):
    (tmp_path / "keep.txt").write_text("x")
    (tmp_path / "link.txt").symlink_to("/etc/passwd")
    (tmp_path / "folder").symlink_to("/etc")
    os.mkfifo(tmp_path / "pipe")
    told = " ".join(intake.drop_links(tmp_path))
    assert "link.txt was a link to /etc/passwd" in told and "pipe was a special file" in told
    assert [p.name for p in tmp_path.iterdir()] == ["keep.txt"]


def test_a_notebook_that_is_too_large_is_set_aside(tmp_path):
    path = tmp_path / "big.ipynb"
    with open(path, "wb") as file:
        file.truncate(1 << 30)
    with pytest.raises(intake.SetAside, match="larger than 100 MiB"):
        intake.read_text(path)


HEADS = {
    "CanvasExport": (
        "Student,ID,SIS User ID,SIS Login ID,Section,a1_convolution (99)\n"
        '"Lovelace, Ada",1815,u1,ada,one,\n"Boole, George",1864,u2,boole,one,\n'
        '"Points Possible",,,,,100\n'
    ),
    "MoodleExport": (
        "Identifier,Full name,Email address,Grade,Maximum Grade,Feedback comments\n"
        "Participant 1815,Ada Lovelace,ada@uni,,100,\nParticipant 1864,George Boole,b@uni,,100,\n"
    ),
}


@pytest.mark.parametrize("kind", HEADS)
def test_points_go_back_in_the_platform_s_own_file(tmp_path, monkeypatch, kind):
    # nbgrader calls alembic by name when it makes a gradebook
    monkeypatch.setenv("PATH", str(Path(sys.executable).parent), prepend=os.pathsep)
    from nbgrader.api import Gradebook

    from cnnlab.grading import export

    (tmp_path / "in.csv").write_text(HEADS[kind])
    with Gradebook(f"sqlite:///{tmp_path}/gradebook.db") as gradebook:
        gradebook.add_assignment(NAME)
        gradebook.add_notebook(NAME, NAME)
        gradebook.add_grade_cell("a1", NAME, NAME, max_score=10, cell_type="code")
        for student, score in (("Ada_Lovelace_1815", 9.5), ("boole", 7), ("nobody_5", 1)):
            gradebook.add_student(student)
            submission = gradebook.add_submission(NAME, student)
            submission.notebooks[0].grades[0].auto_score = score
        gradebook.db.commit()
        plugin = getattr(export, kind)(
            template=str(tmp_path / "in.csv"), to=str(tmp_path / "out.csv"), assignment=[NAME]
        )
        plugin.export(gradebook)
    before = list(csv.reader(io.StringIO(HEADS[kind])))
    after = list(csv.reader((tmp_path / "out.csv").open()))
    column = before[0].index("Grade" if kind == "MoodleExport" else "a1_convolution (99)")
    given = [row.pop(column) for row in after]
    assert given[1] == "9.5"
    assert given[2] == ("7" if kind == "CanvasExport" else "")
    assert after == [row[:column] + row[column + 1 :] for row in before]
