"""What comes in: archives of learning platforms, links, sizes."""

import io
import os
import re
import shutil
import stat
import subprocess
import tracemalloc
import zipfile
from contextlib import nullcontext
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

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


def zipped(members: dict) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for name, content in members.items():
            file.writestr(name, content)
    return packed.getvalue()


def work(text: str = "", ids=("a1-window",)) -> bytes:
    """A notebook whose cells bear these ids."""
    told = [{"grade": False, "solution": True, "locked": False, "grade_id": i} for i in ids]
    cells = [new_code_cell(text, metadata={"nbgrader": t}) for t in told]
    return nbformat.writes(new_notebook(cells=cells)).encode()


RELEASE = {NAME: nbformat.reads(work("# YOUR CODE HERE").decode(), 4)}
MINE, BLANK, OLD = work("x = 1"), work("# YOUR CODE HERE"), work("x = 0")
MOODLE = "{}_assignsubmission_file_/"
# An archive, whose work it holds, and what has to be said of somebody.
ARCHIVES = {
    "an outer folder": (
        {f"submissions/student{i}/{NAME}.ipynb": MINE for i in range(3)},
        ["student0", "student1", "student2"],
    ),
    "Moodle, unpacked and packed again": (
        {f"a1 downloads/{MOODLE.format(n)}a1.ipynb": MINE for n in ("Ann Ex_1", "Ben_Li_2")},
        ["Ann_Ex_1", "Ben_Li_2"],
    ),
    "Moodle, in two folders": (
        {f"x/y/{MOODLE.format('Ann_1')}{NAME}.ipynb": MINE},
        ["Ann_1"],
    ),
    "Canvas, unpacked and packed again": (
        {f"submissions/{n}_7{i}_{NAME}.ipynb": MINE for i, n in enumerate(("ann_1", "ben_2"))},
        ["ann_1", "ben_2"],
    ),
    "Canvas without names": ({f"anon_x7Qk2_55_{NAME}.ipynb": MINE}, ["anon_x7Qk2"]),
    "Gradescope": (
        {f"assignment_77_export/submission_{i}/{NAME}.ipynb": MINE for i in (1, 2)}
        | {"assignment_77_export/submission_metadata.yml": b"x"},
        ["submission_1", "submission_2"],
    ),
    "Blackboard": (
        {f"a1_{n}_attempt_2026-11-27-10-00-00_{NAME}.ipynb": MINE for n in ("ann", "ben")},
        ["ann", "ben"],
    ),
    "nbgrader's own": (
        {f"submitted/{n}/{NAME}/{NAME}.ipynb": MINE for n in ("ann", "ben")},
        ["ann", "ben"],
    ),
    "one student of nbgrader's": ({f"ann/{NAME}/{NAME}.ipynb": MINE}, ["ann"]),
    "one student with a folder beside": (
        {f"ann/src/{NAME}.ipynb": MINE, "ann/notes.txt": b"x"},
        ["ann"],
    ),
    "students with folders": ({f"{n}/src/{NAME}.ipynb": MINE for n in ("a", "b")}, ["a", "b"]),
    "a zip of each": (
        {f"ann/{NAME}.ipynb": MINE, "ben/work.zip": zipped({f"deep/{NAME}.ipynb": MINE})},
        ["ann", "ben"],
    ),
    "a zip that is none": (
        {f"ann/{NAME}.ipynb": MINE, "ben/work.zip": b"PK"},
        ["ann"],
        {"ben": "cannot be opened"},
    ),
    "another archive": (
        {f"x/ann/{NAME}.ipynb": MINE, "x/cy/a1.7z": b"7z", "x/di/a.pdf": b"x"},
        ["ann"],
        {"cy": "a1.7z: files of this kind", "di": "a.pdf: files of this kind"},
    ),
    "a name with .txt": ({f"ann/{NAME}.ipynb.txt": MINE, "ben/Other.IPYNB": MINE}, ["ann", "ben"]),
    "systems' litter": (
        {f"ann/{NAME}.ipynb": MINE, f"__MACOSX/ann/._{NAME}.ipynb": b"x", "ann/.DS_Store": b"x",
         f"ann/.ipynb_checkpoints/{NAME}-checkpoint.ipynb": OLD},
        ["ann"],
    ),
    "one name in two spellings": (
        {f"Jose\u0301/{NAME}.ipynb": MINE, f"Jos\u00e9/{NAME} (1).ipynb": MINE,
         f"x/{NAME}.ipynb": MINE},
        ["Jos\u00e9", "x"],
    ),
    "several people in one folder": (
        {f"groups/a/{NAME}.ipynb": MINE, f"groups/b/{NAME}.ipynb": MINE, f"c/{NAME}.ipynb": MINE},
        ["c"],
        {"groups": "several people"},
    ),
    "whose is it": ({f"ann/{NAME}.ipynb": MINE, "lost.ipynb": MINE}, ["ann"], {"lost": "whose"}),
    "backslashes": ({f"ann\\{NAME}.ipynb": MINE, f"ben\\{NAME}.ipynb": MINE}, ["ann", "ben"]),
    "the named one": (
        {f"{MOODLE.format('ann_1')}{NAME}.ipynb": MINE,
         f"{MOODLE.format('ann_1')}scratch.ipynb": work(ids=())},
        ["ann_1"],
    ),
    "not the old one": (
        {f"ann/{NAME}.ipynb": MINE, f"ann/{NAME}_old.ipynb": BLANK, "ann/zz.ipynb": work(ids=())},
        ["ann"],
    ),
    "not a blank one": ({f"ann/{NAME}.ipynb": BLANK, f"ann/{NAME}-Copy1.ipynb": MINE}, ["ann"]),
    "attempts are numbers": (
        {f"ann_1_99_{NAME}.ipynb": OLD, f"ann_1_100_{NAME}-1.ipynb": MINE},
        ["ann_1"],
    ),
    "another assignment beside it": (
        {f"ann/{NAME}.ipynb": MINE, "ann/a2_shapes.ipynb": work("y", ids=("a2-sizes",))},
        ["ann"],
    ),
    "vowels that are marks": (
        {f"\u0915\u093f\u0930\u0923/{NAME}.ipynb": MINE,
         f"\u0915\u0941\u0930\u0923/{NAME}.ipynb": MINE},
        ["\u0915\u093f\u0930\u0923", "\u0915\u0941\u0930\u0923"],
    ),
    "two people of one id": (
        {f"a b/{NAME}.ipynb": MINE, f"a+b/{NAME}.ipynb": OLD, f"c/{NAME}.ipynb": MINE},
        ["c"],
        {"a_b": "one person or several (a b, a+b)"},
    ),
    "Brightspace": (
        {f"12-34 - Jane Doe - Mar 1, 2026 330 PM - {NAME}.ipynb": MINE,
         "13-34 - John Roe - Mar 1, 2026 330 PM - my a1.ipynb": MINE, "index.html": b"x"},
        ["Jane_Doe", "John_Roe"],
    ),
    "Brightspace's folders": (
        {f"12-34 - Jane Doe - Mar 1, 2026 1130 AM/{NAME}.ipynb": OLD,
         f"12-34 - Jane Doe - Mar 1, 2026 105 PM/{NAME}.ipynb": MINE,
         f"13-34 - J R - Mar 1, 2026 330 PM/{NAME}.ipynb": MINE},
        ["J_R", "Jane_Doe"],
    ),
    "Brightspace, of one name": (
        {f"12-34 - Jane Doe - Mar 1, 2026 1130 AM/{NAME}.ipynb": MINE,
         f"13-34 - Jane Doe - Mar 1, 2026 105 PM/{NAME}.ipynb": OLD,
         f"14-34 - J R - Mar 1, 2026 330 PM/{NAME}.ipynb": MINE},
        ["J_R"],
        {"Jane_Doe": "one person or several"},
    ),
    "Blackboard, names with a dash below": (
        {f"a_1_{n}_lee_attempt_2026-11-27-10-00-00_{NAME}.ipynb": MINE for n in ("ann", "ben")},
        ["ann_lee", "ben_lee"],
    ),
    "Teams": (
        {f"Submitted files/Ann Ex/a1/Version 9/{NAME}.ipynb": OLD,
         f"Submitted files/Ann Ex/a1/Version 10/{NAME}.ipynb": MINE,
         f"Submitted files/Bo Y/a1/Version 1/{NAME}.ipynb": MINE},
        ["Ann_Ex", "Bo_Y"],
    ),
    "a name of 240 bytes": ({"\u738b" * 80 + f"/{NAME}.ipynb": MINE}, ["\u738b" * 33]),
    "a name with a star": ({f"*.ann/{NAME}.ipynb": MINE, f"b/{NAME}.ipynb": MINE}, ["ann", "b"]),
    "hidden folders": (
        {f"in/.ann/{NAME}.ipynb": MINE, f"in/..cy/{NAME}.ipynb": MINE,
         f"in/dee/.{NAME}.ipynb": MINE, f"in/ben/{NAME}.ipynb": MINE,
         f"in/ben/.git/{NAME}.ipynb": OLD, f"in/.ipynb_checkpoints/{NAME}.ipynb": OLD},
        ["ben"],
        {"ann": ".ann/a1_convolution.ipynb is hidden", "cy": "..cy/a1", "dee": "dee/.a1"},
    ),
    "Google Classroom": (
        {f"a1/Ann Ex - {NAME}.ipynb": MINE, f"a1/Bo - Y - {NAME}.ipynb": MINE,
         f"a1/Cy Z - {NAME}.ipynb": MINE, f"a1/Cy Z - {NAME} (1).ipynb": MINE},
        ["Ann_Ex", "Bo_-_Y"],
        {"Cy_Z": "one person or several (Cy Z, Cy Z (1))"},
    ),
    "a folder of everybody's": (
        {f"a1/{n}.ipynb": MINE for n in ("ann", "ben")} | {"a1/cy.ipynb": BLANK},
        [],
        {"a1": "are they several people's"},
    ),
    "another assignment instead": (
        {f"ann/{NAME}.ipynb": MINE, f"ben/{NAME}.ipynb": work("y", ids=("a2-sizes",)),
         "cy/a2_shapes.ipynb": work("y", ids=())},
        ["ann"],
        {"ben": "another assignment's", "cy": "another assignment's"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ARCHIVES)
@pytest.mark.parametrize("packed", [True, False])
def test_everybody_in_an_archive_is_taken_or_told(tmp_path, name, packed):
    members, students, *told = ARCHIVES[name]
    if packed:
        source = archive(tmp_path / "in.zip", members)
    else:
        source = tmp_path / "in"
        for member, content in members.items():
            path = source / member.replace("\\", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    left_out: dict = {}
    with nullcontext() if students else pytest.raises(intake.SetAside, match="no submission"):
        intake.collect(source, NAME, tmp_path / "s", RELEASE, left_out)
    into = tmp_path / "s"
    into.mkdir(exist_ok=True)
    taken = {p.name: (p / NAME / f"{NAME}.ipynb").read_bytes() for p in into.iterdir()}
    assert taken == dict.fromkeys(students, MINE)
    expected = told[0] if told else {}
    assert len(left_out) == len(expected), left_out
    for student, words in expected.items():
        (reason,) = [why for who, why in left_out.items() if who.startswith(student)]
        assert words in reason


@pytest.mark.parametrize("packed", [True, False])
def test_an_empty_folder_is_a_person_who_handed_in_nothing(tmp_path, packed):
    source = tmp_path / "in"
    for name in ("ann", f"dee/{NAME}", "cy", ".eve", "__MACOSX"):
        (source / "x" / name).mkdir(parents=True)
    (source / "x/ann" / f"{NAME}.ipynb").write_bytes(MINE)
    (source / "x/ann/src").mkdir()
    if packed:
        source = shutil.make_archive(str(tmp_path / "packed"), "zip", source)
    left_out: dict = {}
    intake.collect(source, NAME, tmp_path / "s", RELEASE, left_out)
    assert left_out == dict.fromkeys(("cy", "dee"), "nothing is there")


@pytest.mark.parametrize("method", [9, 93])
def test_who_cannot_be_unpacked_or_is_a_bomb_or_a_link_has_a_row(tmp_path, method):
    """A method of packing that Python has not; 90 MiB of blanks; a link in a notebook's place."""
    link = zipfile.ZipInfo(f"dee/{NAME}.ipynb")
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "in.zip", "w", zipfile.ZIP_DEFLATED) as file:
        for name in ("ann", "ben"):
            file.writestr(f"{name}/{NAME}.ipynb", MINE)
        file.writestr(f"cy/{NAME}.ipynb", b"[" + b" " * (90 << 20) + b"]")
        file.writestr(link, "/etc/passwd")
    content = bytearray((tmp_path / "in.zip").read_bytes())
    for head, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        content[content.index(head) + at] = method
    (tmp_path / "in.zip").write_bytes(content)
    left_out: dict = {}
    intake.collect(tmp_path / "in.zip", NAME, tmp_path / "s", RELEASE, left_out)
    assert set(found(tmp_path / "s")) == {f"ben/{NAME}/{NAME}.ipynb"}
    assert "compression method" in left_out["ann"] and "Error" not in left_out["ann"]
    assert "unpacks to 90 MiB" in left_out["cy"] and "links are not" in left_out["dee"]
    assert set(left_out) == {"ann", "cy", "dee"}


def test_a_file_that_cannot_be_kept_costs_nobody_their_notebook(tmp_path):
    files = {"\u0421\u043d" * 70 + ".png": b"x", "x.txt": b"x", "x.txt/y.txt": b"y"}
    members = {f"ann/{name}": content for name, content in files.items()}
    source = archive(tmp_path / "in.zip", {f"ann/{NAME}.ipynb": MINE, **members})
    said = intake.collect(source, NAME, tmp_path / "s", RELEASE)
    assert set(found(tmp_path / "s")) >= {f"ann/{NAME}/{NAME}.ipynb"}
    assert len([line for line in said if "cannot be kept" in line]) == 2


def test_what_one_student_brings_is_bounded_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "MAX_FILE", 1 << 20)
    inner = archive(
        tmp_path / "w.zip", {f"{i}.csv": os.urandom(9000) + b"0" * 900_000 for i in range(40)}
    )
    members = {f"ann/{NAME}.ipynb": MINE, "ann/w.zip": Path(inner).read_bytes()}
    source = archive(tmp_path / "in.zip", members)
    tracemalloc.start()
    said = intake.collect(source, NAME, tmp_path / "s", RELEASE)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 8 << 20
    assert len([line for line in said if "with the others" in line]) == 38


def test_an_archive_whose_names_are_no_text_is_refused_in_a_sentence(tmp_path):
    content = zipped({f"ann\u00e9/{NAME}.ipynb": MINE}).replace("\u00e9".encode(), b"\xff\xfe")
    (tmp_path / "in.zip").write_bytes(content)
    with pytest.raises(intake.SetAside, match="neither a folder nor a zip file"):
        intake.collect(tmp_path / "in.zip", NAME, tmp_path / "s", RELEASE)


def test_an_archive_that_nobody_can_be_taken_from_says_why(tmp_path):
    source = archive(tmp_path / "in.zip", {"ann/a1.7z": b"7z", "ben/a1.rar": b"x"})
    with pytest.raises(intake.SetAside, match="holds no submission.*a1.7z: files of this kind"):
        intake.collect(source, NAME, tmp_path / "s", RELEASE)


def test_an_archive_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(intake, "MAX_MEMBERS", 10)
    source = archive(tmp_path / "in.zip", {f"ann/{i}.txt": b"x" for i in range(11)})
    with pytest.raises(intake.SetAside, match="more than 10 files"):
        intake.collect(source, NAME, tmp_path / "s", RELEASE)


@pytest.mark.parametrize("depth", [1500, 2500])
def test_folders_may_be_of_any_depth(tmp_path, depth):
    back = os.open(".", os.O_RDONLY)
    os.chdir(tmp_path)
    for _ in range(depth):
        os.mkdir("d")
        os.chdir("d")
    os.symlink("/etc/passwd", "link")
    os.fchdir(back)
    os.close(back)
    try:
        told = intake.drop_links(tmp_path)
        assert len(told) == (depth < 2000) and list(intake.files_in(tmp_path)) == []
        assert intake.digest_of(tmp_path)
    finally:
        subprocess.run(["rm", "-rf", tmp_path / "d"], check=True)  # pytest could not


@pytest.mark.parametrize("text", ["\x1b[2J", "a\nb", "\u202egnp", "\udcf6", "\x00"])
def test_what_is_printed_has_no_control_characters(text):
    shown = intake.printable(text)
    shown.encode()
    assert not re.search(r"[\x00-\x1f\x7f\u202a-\u202e]", shown)


def test_who_is_a_link_or_lies_deep_has_a_row_and_the_others_are_taken(tmp_path):
    source = tmp_path / "in"
    for name in ("ann", "ben", ".git"):
        (source / name).mkdir(parents=True)
        (source / name / f"{NAME}.ipynb").write_bytes(MINE)
    (source / "cy").symlink_to("/etc")
    (source / ".git/link").symlink_to("/etc")
    os.mkfifo(source / "dee.ipynb")
    back = os.open(".", os.O_RDONLY)
    os.chdir(source / "ben")
    for _ in range(1500):
        os.mkdir("d")
        os.chdir("d")
    os.fchdir(back)
    os.close(back)
    left_out: dict = {}
    try:
        intake.collect(source, NAME, tmp_path / "s", RELEASE, left_out)
    finally:
        subprocess.run(["rm", "-rf", source / "ben/d"], check=True)  # pytest could not
    assert {path.name for path in (tmp_path / "s").iterdir()} == {"ann", "ben"}
    told = {"cy": "cy: links are not followed", "dee.ipynb": "dee.ipynb: links are not followed"}
    assert left_out == told


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
