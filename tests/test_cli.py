"""The command in the hands of a shell: pipes that close, terminals without Unicode."""

import os
import subprocess
import sys

import pytest

SUMMARY = [sys.executable, "-m", "cnnlab", "summary", "lenet_slide", "--input-size", "1,28,28"]


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
def test_a_terminal_without_unicode_gets_question_marks(encoding):
    done = subprocess.run(
        SUMMARY, env={**os.environ, "PYTHONIOENCODING": encoding}, capture_output=True
    )
    assert done.returncode == 0 and done.stderr == b""
    assert b"Conv2d" in done.stdout


def test_a_network_that_is_not_there_is_named_in_a_sentence():
    done = subprocess.run([*SUMMARY[:4], "lenet7"], capture_output=True, text=True)
    assert done.returncode == 1 and "lenet7" in done.stderr and "Traceback" not in done.stderr
