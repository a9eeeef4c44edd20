"""Python's commands, each in a fork of one process that has imported what they import.

Starting Python and importing torch and nbgrader takes four seconds, and a fork takes none. The
kernels that a command starts are forked as well, from the zygote that grading has anyway.
What has to be seen from its start is started as usual, with `subprocess`.
"""

import atexit
import multiprocessing
import os
import runpy
import sys
import tempfile
from pathlib import Path

import nbformat
import sqlalchemy.dialects.sqlite
from nbgrader.api import Gradebook  # noqa: F401 (the classes of its tables)

from cnnlab.grading import zygote

# What a command compiles before it reads its first notebook and its first grade.
for relaxed in (False, True):
    nbformat.validate(nbformat.v4.new_notebook(), relax_add_props=relaxed)
sqlalchemy.orm.configure_mappers()

_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(
    [
        "alembic.script",
        "cnnlab.assignments.release",
        "cnnlab.cli",
        "cnnlab.grading.coordinator",
        "nbgrader.apps.api",
        "tests.warm",
    ]
)


def python(arguments: tuple[str, ...], folder: Path, environment: dict) -> tuple[int, str]:
    """The exit status of ``python arguments`` in ``folder``, and what it printed."""
    given = {zygote.ADDRESS: zygote.start(), "JUPYTER_DEFAULT_PROVISIONER_NAME": "cnnlab-warm"}
    with tempfile.NamedTemporaryFile() as out, tempfile.NamedTemporaryFile() as err:
        told = arguments, str(folder), given | environment, out.name, err.name
        process = _processes.Process(target=_become, args=told)
        process.start()
        process.join()
        return process.exitcode, (out.read() + err.read()).decode()


def _become(arguments, folder, environment, out, err) -> None:
    from alembic.script import ScriptDirectory
    from nbgrader import api
    from nbgrader.dbutil import ALEMBIC_DIR

    for number, path in ((1, out), (2, err)):
        handle = os.open(path, os.O_WRONLY | os.O_APPEND)
        os.dup2(handle, number)
        os.close(handle)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    tempfile.tempdir = None
    sys.path[:] = [folder, *environment["PYTHONPATH"].split(os.pathsep), *sys.path]
    # A new gradebook asks alembic, in a process of its own, for what this function says.
    api.get_alembic_version = ScriptDirectory(ALEMBIC_DIR).get_current_head
    option, code, *rest = arguments
    sys.argv = [option, *rest]
    try:
        if option == "-m":
            runpy.run_module(code, run_name="__main__", alter_sys=True)
        else:
            exec(compile(code, "<string>", "exec"), {"__name__": "__main__"})
    finally:
        atexit._run_exitfuncs()
