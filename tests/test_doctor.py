"""The doctor says what is wrong and what to do, and fails only where the course cannot run."""

import shutil
import sys

import pytest
import torch

from cnnlab import doctor
from cnnlab.cli import main
from cnnlab.cuda import compiler


def test_a_healthy_machine_gets_a_line_a_check(capsys):
    assert main(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line[6:18].strip() for line in lines] == list(doctor.CHECKS)
    assert all(line.startswith(("OK  ", "WARN")) for line in lines)


def test_mismatched_torchvision_is_named_and_fails(monkeypatch, capsys):
    def missing(*args):
        raise RuntimeError("operator torchvision::nms does not exist\n")

    monkeypatch.setattr("torchvision.ops.nms", missing)
    assert main(["doctor"]) == 1
    (line,) = [li for li in capsys.readouterr().out.splitlines() if li[6:11] == "torch"]
    assert line.startswith("FAIL") and "torchvision::nms does not exist" in line
    assert "do not agree" in line and "make lab" in line


def test_a_torchvision_that_cannot_be_imported_fails(monkeypatch):
    monkeypatch.setitem(sys.modules, "torchvision", None)
    assert doctor.CHECKS["torch"]().status == "FAIL"


@pytest.mark.parametrize(
    "driver, cuda, words",
    [
        ("", "13.0", "everything runs on the CPU"),
        ("535.1", "13.0", "driver 535.1 does not serve torch's CUDA 13.0: update the driver"),
        ("535.1", None, "torch is a CPU build"),
    ],
)
def test_gpu_and_driver(monkeypatch, driver, cuda, words):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(doctor, "_first_line", lambda *command: driver)
    assert words in doctor.CHECKS["gpu"]().text


def test_a_missing_compiler_is_a_warning_in_the_lab_s_own_words(monkeypatch):
    def missing():
        raise compiler.CompilerMissing("no C++ compiler: 'apt install g++'")

    monkeypatch.setattr(compiler, "_compiler", missing)
    found = doctor.CHECKS["c++ compiler"]()
    assert found.status == "WARN" and "apt install g++" in found.text


def test_missing_namespaces_are_a_warning_and_say_what_to_set(monkeypatch):
    monkeypatch.setattr("cnnlab.sandbox.unavailable", lambda: "clone: not permitted")
    found = doctor.CHECKS["namespaces"]()
    assert found.status == "WARN" and "clone: not permitted" in found.text
    assert "sysctl" in found.text


def test_a_torch_that_is_too_old_fails(monkeypatch):
    monkeypatch.setattr(torch, "__version__", "2.9.1+cu128")
    found = doctor.CHECKS["torch"]()
    assert found.status == "FAIL" and "needs torch 2.11" in found.text


def test_an_extension_that_jupyter_does_not_know_fails(monkeypatch, tmp_path):
    monkeypatch.setattr("jupyter_core.paths.jupyter_config_path", lambda: [str(tmp_path)])
    found = doctor.CHECKS["nbgrader"]()
    assert found.status == "FAIL" and "not told of cnnlab's extension" in found.text


def test_a_folder_that_cannot_be_written_fails(monkeypatch, tmp_path):
    def refuse(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("pathlib.Path.touch", refuse)
    found = doctor.CHECKS["writing"]()
    assert found.status == "FAIL" and "Permission denied" in found.text
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_is_a_warning(monkeypatch):
    usage = shutil.disk_usage(".")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=10**8))
    assert doctor.CHECKS["disk"]().text.startswith("0.1 GB free here: make room")


def test_a_missing_kernel_fails(monkeypatch):
    from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel

    def missing(self, name):
        raise NoSuchKernel(name)

    monkeypatch.setattr(KernelSpecManager, "get_kernel_spec", missing)
    found = doctor.CHECKS["kernel"]()
    assert found.status == "FAIL" and "ipykernel install" in found.text


def test_a_check_that_breaks_is_a_warning_and_the_rest_goes_on(monkeypatch, capsys):
    def broken():
        raise OSError("no such thing")

    monkeypatch.setattr(doctor, "CHECKS", {"one": broken, "two": doctor.CHECKS["python"]})
    assert doctor.examine_machine() == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "WARN  one           could not be checked (OSError: no such thing)"
    assert lines[1].startswith("OK")
