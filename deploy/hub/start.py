"""Lay out a JupyterHub with the course on this machine, and start it: ``make hub``.

Everything lies in one folder ($CNNLAB_HUB; /srv/cnnlab for root, dist/hub for anybody else):

    course/     the students' edition and its environment, read-only for all
    exchange/   nbgrader's, where assignments, submissions and feedback change hands
    home/       the homes; home/instructor/course has solutions, gradebook and key, mode 700
    state/      the hub's own: its database, cookies' secret and the passwords, mode 700

A second run goes on where the first one stopped, brings course/ up to date, and leaves the homes
and the exchange as they are. Needs no package.
"""

import json
import os
import pwd
import secrets
import shutil
import socket
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
AS_ROOT = os.geteuid() == 0
HUB = Path(os.environ.get("CNNLAB_HUB") or ("/srv/cnnlab" if AS_ROOT else ROOT / "dist/hub"))
COURSE, EXCHANGE, HOME, STATE = (HUB / name for name in ("course", "exchange", "home", "state"))
MINE = HOME / "instructor" / "course"
BIN = COURSE / ".venv/bin"
INSTRUCTOR, STUDENTS = "instructor", ("ada", "ben")
RELEASED = ("a1_convolution",)  # the others wait in formgrader
PORTS = {0: "the hub", 1: "the proxy's API", 2: "the hub's API", 3: "the grading service"}


def main() -> None:
    port, parts = int(os.environ.get("PORT") or 8000), sys.argv[1:]
    for more, what in PORTS.items():
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port + more))
            except OSError:
                sys.exit(
                    f"Port {port + more}, for {what}, is in use: stop what uses it, or take four "
                    f"others, as in `make hub PORT={port + 100}`."
                )
    os.umask(0o022)
    HUB.parent.mkdir(parents=True, exist_ok=True)
    if there := closed(HUB):
        sys.exit(f"Other accounts cannot enter {there}: take another folder with $CNNLAB_HUB.")
    for folder, mode in ((HUB, 0o755), (EXCHANGE, 0o1777), (HOME, 0o755), (STATE, 0o700)):
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(mode)
    students_edition(parts)
    if not AS_ROOT:
        print("Not root: all servers run as you, so students are not isolated from each other.")
    for name in (INSTRUCTOR, *STUDENTS):
        account(name)
    assignments()
    said = passwords()
    print(f"http://127.0.0.1:{port}: {said} (stop with Ctrl-C)", flush=True)
    os.chdir(STATE)
    env = {**os.environ, "CNNLAB_HUB": str(HUB), "PORT": str(port), "PATH": path()}
    config = ROOT / "deploy/hub/jupyterhub_config.py"
    os.execve(BIN / "jupyterhub", ["jupyterhub", "--config", str(config)], env)


def students_edition(parts: list[str]) -> None:
    """What `make release` packs, with an environment that students can use."""
    for part in parts:
        for source, target in ((ROOT / part, COURSE / part), (ROOT / "handout" / part, None)):
            target = target or COURSE / part
            if source.is_dir():
                shutil.copytree(source, target, dirs_exist_ok=True, ignore=litter)
            elif source.is_file():
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(source, target)
    python = usable_python()
    os.environ["UV_COMPILE_BYTECODE"] = "1"  # students cannot keep there what an import compiles
    run(python, str(COURSE / "set_up.py"), "course", "cluster", "hub", *torch())
    run(str(BIN / "python"), "-m", "compileall", "-q", str(COURSE / "cnnlab"))
    settings = [
        "c = get_config()",
        'c.CourseDirectory.course_id = "cnnlab"',
        f"c.Exchange.root = {str(EXCHANGE)!r}",
    ]
    if not AS_ROOT:  # all files belong to one account, by whose name nbgrader would know everybody
        settings += [
            "c.ExchangeCollect.check_owner = False",
            "import os",
            f'if os.environ.get("JUPYTERHUB_USER") in {STUDENTS!r}:',
            '    c.CourseDirectory.student_id = os.environ["JUPYTERHUB_USER"]',
        ]
    (COURSE / ".venv/etc/jupyter/nbgrader_config.py").write_text("\n".join(settings) + "\n")
    for folder, _, files in os.walk(COURSE, followlinks=False):
        if ".venv/lib" not in folder:  # installed readable for all
            open_up(folder, *(os.path.join(folder, name) for name in files))


def litter(folder: str, names: list[str]) -> set[str]:
    """What of a folder in use is not the course's: caches, and sockets of running kernels."""
    caches = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", "*.pyc")(folder, names)
    return caches | {name for name in names if Path(folder, name).is_socket()}


def open_up(*paths: str) -> None:
    for path in paths:
        if not os.path.islink(path):
            os.chmod(path, os.stat(path).st_mode | (0o555 if os.path.isdir(path) else 0o444))


def closed(path: Path) -> Path | None:
    """The first folder on the way that other accounts cannot enter."""
    return next((p for p in path.parents if AS_ROOT and not p.stat().st_mode & 1), None)


def usable_python() -> str:
    """This Python, or the system's where students could not run this one."""
    for python in (sys.executable, "/usr/bin/python3"):
        if os.access(python, os.X_OK) and not closed(Path(os.path.realpath(python))):
            return python
    sys.exit(
        f"{sys.executable} lies where other accounts cannot go: name another Python, as in "
        "`make hub PYTHON=/usr/bin/python3.12`."
    )


def torch() -> list[str]:
    return ["--torch", os.environ["TORCH"]] if os.environ.get("TORCH") else []


def account(name: str) -> None:
    """A home in this folder, and as root a system user whose it is. A home is laid out once."""
    home = HOME / name
    if AS_ROOT:
        try:
            if Path(pwd.getpwnam(name).pw_dir) != home:
                sys.exit(f"This machine has an account {name} of its own: it is left alone.")
        except KeyError:
            shell = ["--no-create-home", "--home-dir", str(home), "--shell", "/bin/bash"]
            run("useradd", "--user-group", *shell, name)
    if home.exists():
        return
    part = HOME / f".{name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(mode=0o700)
    if name == INSTRUCTOR:
        instructors_home(part)
    else:
        (part / "course").symlink_to(COURSE)
    if AS_ROOT:
        run("chown", "--recursive", "--no-dereference", f"{name}:", str(part))
    part.rename(home)


def instructors_home(home: Path) -> None:
    """The course with its solutions, and formgrader, which students' servers do not show."""
    for name in ("solutions", "assignments"):
        shutil.copytree(ROOT / name, home / "course" / name, ignore=litter)
    for made in (home / "course/assignments").glob("*/*.checks"):
        made.unlink()  # it is made anew, and the gradebook is told
    shutil.copy(ROOT / "nbgrader_config.py", home / "course")
    (home / "course/students.csv").write_text("\n".join(("id", *STUDENTS, "")))
    extensions = {"nbgrader.server_extensions.formgrader": True}
    parts = ("create-assignment", "formgrader")
    settings = f"""# formgrader's course, in whatever folder the server was started
c = get_config()
load_subconfig("nbgrader_config.py", path={str(MINE)!r})
c.CourseDirectory.root = {str(MINE)!r}
"""
    shown = {
        "jupyter_server_config.d/instructor.json": {
            "ServerApp": {"jpserver_extensions": extensions}
        },
        "labconfig/page_config.json": {
            "disabledExtensions": {f"@jupyter/nbgrader:{part}": False for part in parts}
        },
    }
    for name, told in shown.items():
        path = home / ".jupyter" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(told))
    (home / ".jupyter/nbgrader_config.py").write_text(settings)


def assignments() -> None:
    """Generate and release the first assignment; what else is generated, students can read."""
    for name in RELEASED:
        if not (MINE / "assignments" / name / f"{name}.checks").is_file():
            instructor("nbgrader", "generate_assignment", "--force", name)
            # They are in the class report before they hand anything in.
            instructor("nbgrader", "db", "student", "import", "students.csv")
        if not (EXCHANGE / "cnnlab/outbound" / name).is_dir():
            instructor("nbgrader", "release_assignment", name)
    for made in MINE.glob("assignments/*/*.checks"):
        seen = COURSE / made.relative_to(MINE)
        if seen.parent.is_dir():
            shutil.copy(made, seen)
            open_up(str(seen))


def instructor(*command: str) -> None:
    """Run a command of the environment as the instructor, in the instructor's course."""
    env = {"PATH": path(), "HOME": str(HOME / INSTRUCTOR), "LANG": "C.UTF-8"}
    env |= {"USER": INSTRUCTOR, "LOGNAME": INSTRUCTOR}
    who = {"user": INSTRUCTOR, "group": INSTRUCTOR, "extra_groups": []} if AS_ROOT else {}
    words = [str(BIN / command[0]), *command[1:]]
    done = subprocess.run(words, cwd=MINE, env=env, capture_output=True, text=True, **who)
    if done.returncode:
        lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
        print(f"{' '.join(command)} failed: {lines[-1] if lines else 'no reason was given'}")


def passwords() -> str:
    """One for the students and one for the instructor, made on the first run."""
    kept = STATE / "passwords.json"
    if not kept.is_file():
        words = {"students": secrets.token_urlsafe(9), "instructor": secrets.token_urlsafe(24)}
        with open(os.open(kept, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
            json.dump(words, file)
    words = json.loads(kept.read_text())
    return (
        f"{INSTRUCTOR} with {words['instructor']}, {' and '.join(STUDENTS)} with "
        f"{words['students']}"
    )


def path() -> str:
    return os.pathsep.join([str(BIN), "/usr/local/bin", "/usr/bin", "/bin"])


def run(*command: str) -> None:
    if status := subprocess.call(command):
        sys.exit(f"The hub is not started (`{command[0]}` ended with status {status}).")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit("Stopped; the next run goes on.")
    except OSError as error:
        sys.exit(f"The hub is not started ({error}).")
