"""The set-up: what a machine lacks is said in a sentence; what is half built is not ready."""

import importlib.util
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def set_up(tmp_path, monkeypatch):
    """The script in a folder with a space in its name; it builds and installs nothing."""
    folder = tmp_path / "the course"
    folder.mkdir()
    for name in ("set_up.py", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, folder)
    spec = importlib.util.spec_from_file_location("set_up", folder / "set_up.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.commands = []

    def run(*command):
        module.commands.append(command)
        if "venv" in command:
            (folder / ".venv").mkdir(exist_ok=True)

    monkeypatch.chdir(folder)
    monkeypatch.setattr(module, "run", run)
    monkeypatch.setattr(module, "lend", lambda python: "lent.txt")
    return module


def call(set_up, monkeypatch, *arguments) -> list[tuple]:
    """The commands of a call, without the paths of this machine."""
    set_up.commands.clear()
    monkeypatch.setattr(sys, "argv", ["set_up.py", *arguments])
    set_up.main()
    return list(set_up.commands)


def test_it_is_done_once_and_again_when_something_changes(set_up, monkeypatch):
    made, pip, uv = call(set_up, monkeypatch, "course")
    assert made[1:] == ("-m", "venv", "--clear", ".venv")
    assert pip[1:4] == ("-m", "pip", "install") and uv[-1] == ".[course]"
    assert call(set_up, monkeypatch, "course") == []

    pip, uv = call(set_up, monkeypatch, "test", "course")  # more is added to what is there
    assert uv[-1] == ".[course,test]"
    assert call(set_up, monkeypatch, "course") == []

    Path("constraints.txt").write_text("numpy==2.4.6\n")
    assert len(call(set_up, monkeypatch, "course")) == 2

    Path("etc/jupyter").mkdir(parents=True)  # what Jupyter reads is installed, too
    Path("etc/jupyter/nbgrader_config.json").write_text("{}")
    assert len(call(set_up, monkeypatch, "course")) == 2

    cpu = call(set_up, monkeypatch, "course", "--torch", "cpu")  # another torch begins anew
    assert len(cpu) == 3 and cpu[-1][-4:-2] == ("--torch-backend", "cpu")
    assert call(set_up, monkeypatch, "course", "--torch", "") == []  # what is there is kept


def test_a_folder_that_was_moved_is_set_up_anew(set_up, monkeypatch):
    call(set_up, monkeypatch, "course")
    ready = json.loads(Path(set_up.READY).read_text())
    Path(set_up.READY).write_text(json.dumps(ready | {"folder": "/where/it/was"}))
    assert len(call(set_up, monkeypatch, "course")) == 3


def test_what_broke_off_is_begun_anew(set_up, monkeypatch):
    call(set_up, monkeypatch, "course")

    def full(*command):
        sys.exit("no space left on the disk")

    with monkeypatch.context() as patch:
        patch.setattr(set_up, "run", full)
        with pytest.raises(SystemExit, match="no space"):
            call(set_up, patch, "course", "bench")
    assert len(call(set_up, monkeypatch, "course")) == 3


def test_a_torch_that_is_installed_is_not_downloaded(set_up, monkeypatch):
    *_, uv = call(set_up, monkeypatch, "course", "--torch", "installed")
    assert uv[-4:-2] == ("--excludes", "lent.txt")


@pytest.mark.parametrize(
    "lack, arguments, sentence",
    [
        (("sys.version_info", (3, 10, 4)), [], "Python 3.11 or newer is needed and this is"),
        (("shutil.disk_usage", lambda path: SimpleNamespace(free=3e9)), [],
         "7 GB are needed and 3.0 GB are free: make room, or take `TORCH=cpu`"),
        (("importlib.util.find_spec", lambda name: name != "ensurepip"), [],
         "apt install python3-venv"),
        (("importlib.util.find_spec", lambda name: name == "ensurepip"), ["--torch", "installed"],
         "has no torch and no torchvision: name the Python that has"),
        (("os.access", lambda path, mode: False), [], "cannot be written: copy the course"),
        (("platform.machine", lambda: "x86_64", "platform.system", lambda: "Darwin"), [],
         "Macs with an Intel processor"),
        ((), ["--torch", "gpu"], "TORCH=gpu is not known: it is cpu, installed, or cuda"),
    ],
)  # fmt: skip
def test_what_is_missing_is_said_in_a_sentence(set_up, monkeypatch, lack, arguments, sentence):
    with monkeypatch.context() as patch, pytest.raises(SystemExit) as stopped:
        patch.setattr(sys, "argv", ["set_up.py", "course", *arguments])
        for name, value in zip(lack[::2], lack[1::2], strict=True):
            patch.setattr(name, value)
        set_up.main()
    assert sentence in str(stopped.value) and not Path(".venv").exists()
