"""Build .venv with the exact versions of constraints.txt. The Makefile calls this.

Without make: ``python3 set_up.py course``, then ``.venv/bin/jupyter lab``. What follows the
name are groups of pyproject.toml. ``--torch`` says which torch: ``cuda`` with NVIDIA's libraries
(6 GB), ``cpu`` without (1 GB), ``installed`` is that of this Python, as a lab machine has it.
It needs no package, and an old Python gets as far as the sentence that it is too old.
"""

import argparse
import hashlib
import importlib.util
import json
import os
import platform
import shutil
import subprocess
import sys
import time

OLDEST = (3, 11)
SPACE = {"cuda": 7, "cpu": 2, "installed": 1}  # GB, the unpacked downloads included
VENV = ".venv"
READY = os.path.join(VENV, "ready.json")  # written last: without it .venv is begun anew
BIN = os.path.join(VENV, "Scripts" if os.name == "nt" else "bin")


def main() -> None:
    os.chdir(os.path.dirname(os.path.abspath(__file__)))
    if os.path.realpath(sys.prefix) == os.path.realpath(VENV):  # it cannot rebuild itself
        os.execv(sys._base_executable, [sys._base_executable, *sys.argv])
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("groups", nargs="+", help="course, test, cluster, hub, book, bench")
    parser.add_argument("--torch", default="", help="cuda (default), cpu or installed")
    args = parser.parse_args()
    have = read_ready()
    torch = args.torch or have.get("torch", "cuda")
    if torch not in SPACE:
        sys.exit(f"TORCH={torch} is not known: it is cpu, installed, or cuda (the default).")
    usable = (have.get("torch"), have.get("folder")) == (torch, os.getcwd())
    groups = sorted(set(args.groups) | set(have["groups"] if usable else ()))
    want = {"torch": torch, "folder": os.getcwd(), "groups": groups, "pins": pins()}
    if have == want:
        return
    if not usable:
        refuse(torch)
    start = time.time()
    print("--- set-up", flush=True)
    if usable:
        os.remove(READY)
    else:
        run(sys.executable, "-m", "venv", "--clear", VENV)
    install(torch, groups)
    with open(READY, "w") as file:
        json.dump(want, file)
    print(f"--- set-up: {time.time() - start:.0f} s", flush=True)


def read_ready() -> dict:
    try:
        with open(READY) as file:
            return json.load(file)
    except (OSError, ValueError):
        return {}


def pins() -> str:
    """A mark that changes with what is to be installed."""
    mark = hashlib.sha256()
    settings = [os.path.join(at, name) for at, _, names in os.walk("etc") for name in names]
    for name in ("pyproject.toml", "constraints.txt", "set_up.py", *sorted(settings)):
        with open(name, "rb") as file:
            mark.update(file.read())
    return mark.hexdigest()


def refuse(torch: str) -> None:
    """Stop with a sentence where this machine cannot have it."""
    if sys.version_info < OLDEST:
        sys.exit(
            f"Python {OLDEST[0]}.{OLDEST[1]} or newer is needed and this is "
            f"{platform.python_version()}: name one, as in `make lab PYTHON=/usr/bin/python3.12`."
        )
    if not importlib.util.find_spec("ensurepip"):
        sys.exit("This Python makes no virtual environments: `apt install python3-venv`.")
    if not os.access(".", os.W_OK):
        sys.exit(f"{os.getcwd()} cannot be written: copy the course elsewhere.")
    free = shutil.disk_usage(".").free / 1e9
    if free < SPACE[torch]:
        less = ", or take `TORCH=cpu`, which needs 2 GB" if torch == "cuda" else ""
        sys.exit(f"{SPACE[torch]} GB are needed and {free:.1f} GB are free: make room{less}.")
    if torch == "installed":
        missing = [n for n in ("torch", "torchvision") if not importlib.util.find_spec(n)]
        if missing:
            sys.exit(
                f"{sys.executable} has no {' and no '.join(missing)}: name the Python that has, "
                "as in `make lab TORCH=installed PYTHON=/opt/conda/bin/python`."
            )
    elif (platform.system(), platform.machine()) == ("Darwin", "x86_64"):
        sys.exit("PyTorch is not made for Macs with an Intel processor any more: use Linux.")


def install(torch: str, groups: list) -> None:
    python = os.path.abspath(os.path.join(BIN, "python"))
    pinned = ["--constraint", "constraints.txt"]
    os.environ.setdefault("UV_HTTP_TIMEOUT", "300")  # a slow link is no failure
    if not os.access(os.path.expanduser("~"), os.W_OK):
        os.environ["UV_NO_CACHE"] = os.environ["PIP_NO_CACHE_DIR"] = "1"
    run(python, "-m", "pip", "install", "--quiet", *pinned, "uv")
    options = []
    if torch == "cpu":
        options = ["--torch-backend", "cpu"]
    elif torch == "installed":
        options = ["--excludes", lend(python)]
    uv = os.path.join(BIN, "uv")
    course = f".[{','.join(groups)}]"
    run(uv, "pip", "install", "--python", python, *pinned, *options, "--editable", course)


def lend(python: str) -> str:
    """Let .venv see what this Python has, after its own; returns the list of what to leave out."""
    ask = "import sysconfig; print(sysconfig.get_path('purelib'))"
    own = subprocess.check_output([python, "-c", ask], text=True).strip()
    lent = [p for p in sys.path if os.path.basename(p) in ("site-packages", "dist-packages")]
    with open(os.path.join(own, "lent.pth"), "w") as file:
        file.writelines(f"import site; site.addsitedir({folder!r})\n" for folder in lent)
    path = os.path.join(VENV, "lent.txt")
    with open(path, "w") as file:
        file.write("torch\ntorchvision\n")
    return path


def run(*command: str) -> None:
    status = subprocess.call(command)
    if status:
        sys.exit(f"The set-up stopped (status {status}) for the reason above; then run it again.")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped; the next run begins anew.")
