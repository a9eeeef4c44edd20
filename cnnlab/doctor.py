"""``cnnlab doctor``: is this machine ready for the course, and what to do where it is not?"""

import importlib
import platform
import re
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

__all__ = ["CHECKS", "Finding", "examine_machine"]

OK, WARN, FAIL = "OK", "WARN", "FAIL"
ENOUGH_DISK_GB = 2
OLDEST_TORCH = "2.11"


@dataclass(frozen=True)
class Finding:
    """What a check found: ``status`` is OK, WARN or FAIL, ``text`` says what and what to do."""

    status: str
    text: str


def _system() -> Finding:
    name, machine = platform.system(), platform.machine()
    here = f"{name} {machine}"
    if (name, machine) == ("Linux", "x86_64"):
        return Finding(OK, f"{here}, the system that the course is tested on")
    advice = {
        "Windows": "use WSL 2, where the course sees Linux",
        "Darwin": "with Apple silicon and macOS 14 the lectures should work",
    }.get(name, "the lectures should work")
    return Finding(WARN, f"{here} is not tested: {advice}; CUDA kernels run on Linux x86-64 only")


def _python() -> Finding:
    found = platform.python_version()
    if sys.version_info < (3, 11):  # noqa: UP036 (run from a checkout, any Python comes by here)
        return Finding(FAIL, f"{found}: install Python 3.11 or newer, then `make lab`")
    return Finding(OK, found)


def _torch() -> Finding:
    try:
        import torch
    except ImportError as error:
        return Finding(FAIL, f"torch cannot be imported ({error}): run `make lab`")
    pair = f"torch {torch.__version__}, torchvision {_version_of('torchvision')}"
    try:
        import torchvision

        boxes = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
        torchvision.ops.nms(boxes, torch.ones(1), 0.5)
    except (ImportError, RuntimeError, AttributeError) as error:
        reason = str(error).splitlines()[0]
        if "nms" in reason:
            reason += "; the well-known sign of two builds that do not belong together"
        return Finding(
            FAIL,
            f"{pair} do not agree ({reason}): remove .venv and run `make lab` again; with "
            "TORCH=installed, install both at once where they come from",
        )
    if _older(torch.__version__, OLDEST_TORCH):
        return Finding(
            FAIL,
            f"{pair}: the course needs torch {OLDEST_TORCH} or newer; run `make lab TORCH=cuda` or "
            "`make lab TORCH=cpu`, which bring their own",
        )
    return Finding(OK, f"{pair}, C++ operators load")


def _gpu() -> Finding:
    try:
        import torch
    except ImportError:
        return Finding(WARN, "not looked for, since torch is missing")
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        return Finding(OK, f"{name}, torch built for CUDA {torch.version.cuda}")
    if torch.backends.mps.is_available():
        return Finding(OK, "Apple GPU through MPS")
    driver = _first_line("nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader")
    if driver and torch.version.cuda is None:
        return Finding(
            WARN, f"driver {driver} is there, but torch is a CPU build: install a CUDA one"
        )
    if driver:
        return Finding(
            WARN,
            f"driver {driver} does not serve torch's CUDA {torch.version.cuda}: update the driver, "
            "or install a torch built for an older CUDA",
        )
    return Finding(OK, "none; everything runs on the CPU")


def _compiler() -> Finding:
    from cnnlab.cuda import CompilerMissing, compiler

    try:
        path = compiler._compiler()
    except CompilerMissing as error:
        return Finding(WARN, f"none for the CUDA lab: {error}")
    return Finding(OK, _first_line(path, "--version") or path)


def _nvrtc() -> Finding:
    try:
        from cuda.bindings import nvrtc

        error, major, minor = nvrtc.nvrtcVersion()
        if int(error) != 0:
            raise RuntimeError(f"nvrtcVersion returned {int(error)}")
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        return Finding(
            WARN, f"not usable ({reason}): the CUDA lab then shows no messages of NVIDIA's compiler"
        )
    return Finding(OK, f"{major}.{minor}, compiles without a GPU")


def _nbgrader() -> Finding:
    try:
        found = version("nbgrader")
    except PackageNotFoundError:
        return Finding(FAIL, "not installed: run `make lab`")
    from jupyter_core.paths import jupyter_path

    folders = [Path(p) for p in jupyter_path("labextensions")]
    if not any((folder / "@jupyter" / "nbgrader").is_dir() for folder in folders):
        return Finding(FAIL, f"{found} without its JupyterLab extension: remove .venv, `make lab`")
    try:
        importlib.import_module("nbgrader.server_extensions.formgrader")
    except ImportError as error:
        return Finding(
            FAIL, f"{found}, but formgrader cannot be imported ({error}): remove .venv, `make lab`"
        )
    from jupyter_core.paths import jupyter_config_path

    ours = "jupyter_server_config.d/cnnlab.json"
    if not any((Path(folder) / ours).is_file() for folder in jupyter_config_path()):
        return Finding(
            FAIL, f"{found}, but Jupyter is not told of cnnlab's extension ({ours}): `make lab`"
        )
    return Finding(OK, f"{found}, JupyterLab extension and formgrader found")


def _kernel() -> Finding:
    try:
        from jupyter_client.kernelspec import KernelSpecManager, NoSuchKernel
    except ImportError:
        return Finding(FAIL, "jupyter is not installed: run `make lab`")
    try:
        spec = KernelSpecManager().get_kernel_spec("python3")
    except NoSuchKernel:
        return Finding(FAIL, "no kernel `python3`: run `python -m ipykernel install --sys-prefix`")
    program = Path(spec.argv[0])  # a bare "python" means the one that runs Jupyter
    if program.is_absolute() and program.resolve() != Path(sys.executable).resolve():
        advice = "run `python -m ipykernel install --sys-prefix`"
        return Finding(WARN, f"notebooks run with {program}, this is {sys.executable}: {advice}")
    return Finding(OK, "notebooks run with this Python")


def _namespaces() -> Finding:
    if platform.system() != "Linux":
        return Finding(WARN, "only Linux has them: grade submissions of others on Linux")
    from cnnlab import sandbox

    if reason := sandbox.unavailable():
        return Finding(
            WARN,
            f"not to be had ({reason}), so submissions of others cannot be boxed in: set "
            "kernel.apparmor_restrict_unprivileged_userns=0 or "
            "kernel.unprivileged_userns_clone=1 by sysctl, or ask the administrator",
        )
    return Finding(OK, "allowed: submissions of others are boxed in")


def _disk() -> Finding:
    free = shutil.disk_usage(Path.cwd()).free / 1e9
    if free < ENOUGH_DISK_GB:
        return Finding(WARN, f"{free:.1f} GB free here: make room, {ENOUGH_DISK_GB} GB are enough")
    return Finding(OK, f"{free:.0f} GB free here")


def _writing() -> Finding:
    probe = Path.cwd() / ".cnnlab-doctor"
    try:
        probe.touch()
        probe.unlink()
    except OSError as error:
        return Finding(
            FAIL, f"{Path.cwd()} cannot be written ({error.strerror}): copy the course elsewhere"
        )
    return Finding(OK, f"{Path.cwd()} can be written")


def _network() -> Finding:
    try:
        socket.create_connection(("download.pytorch.org", 443), timeout=3).close()
    except OSError:
        return Finding(OK, "none; the course needs it only for published weights and large data")
    return Finding(OK, "published weights can be downloaded")


CHECKS: dict[str, Callable[[], Finding]] = {
    "system": _system,
    "python": _python,
    "torch": _torch,
    "gpu": _gpu,
    "c++ compiler": _compiler,
    "nvrtc": _nvrtc,
    "nbgrader": _nbgrader,
    "kernel": _kernel,
    "namespaces": _namespaces,
    "disk": _disk,
    "writing": _writing,
    "network": _network,
}


def examine_machine() -> int:
    """Print a line a check; returns 1 if any says FAIL, else 0."""
    worst = 0
    for name, check in CHECKS.items():
        try:
            finding = check()
        except Exception as error:
            finding = Finding(WARN, f"could not be checked ({type(error).__name__}: {error})")
        print(f"{finding.status:<4}  {name:<12}  {finding.text}", flush=True)
        worst |= finding.status == FAIL
    return int(worst)


def _older(version: str, floor: str) -> bool:
    """Whether ``2.9.1+cu130`` comes before ``2.11``."""
    numbers = (tuple(map(int, re.findall(r"\d+", v)[:2])) for v in (version, floor))
    return next(numbers) < next(numbers)


def _version_of(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "missing"


def _first_line(*command: str) -> str:
    """The first line that a program prints, or nothing where it is missing or fails."""
    if not shutil.which(command[0]):
        return ""
    done = subprocess.run(command, capture_output=True, text=True, timeout=20, check=False)
    return done.stdout.splitlines()[0] if done.returncode == 0 and done.stdout else ""
