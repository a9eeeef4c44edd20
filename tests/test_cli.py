"""The command in the hands of a shell: pipes that close, terminals without Unicode."""

import io
import os
import subprocess
import sys

import pytest

from cnnlab.cli import main


def test_a_closed_pipe_is_no_error_to_tell_of():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "cnnlab", "doctor"],
        stdout=writing,
        stderr=subprocess.PIPE,
        text=True,
    )
    os.close(writing)
    assert done.returncode == 141 and done.stderr == ""


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_a_terminal_without_unicode_gets_question_marks(encoding, monkeypatch):
    terminal = io.TextIOWrapper(io.BytesIO(), encoding)
    monkeypatch.setattr(sys, "stdout", terminal)
    assert main(["summary", "lenet_slide", "--input-size", "1,28,28"]) == 0
    printed = terminal.buffer.getvalue()
    assert b"Conv2d" in printed and b"?" in printed


def test_a_network_that_is_not_there_is_named_in_a_sentence(capsys):
    assert main(["summary", "lenet7"]) == 1
    assert "lenet7" in capsys.readouterr().err


STOPPING = """
import sys
from cnnlab.cli import main

class Stopping:
    def find_spec(self, name, *told):
        if name.startswith("cnnlab."):
            raise KeyboardInterrupt

sys.meta_path.insert(0, Stopping())
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.parametrize(
    "command",
    ["doctor", "summary lenet", "check a1", "new-assignment x", "grade a1", "collect", "feedback",
     "export a1 a.csv b.csv"],
)  # fmt: skip
def test_ctrl_c_while_a_command_still_imports_is_one_word(command):
    words = [sys.executable, "-c", STOPPING, *command.split()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "Stopped.\n")
