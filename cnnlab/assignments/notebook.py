"""``cnnlab check a1``: run an assignment's notebook and show how far it has come."""

import os
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import NoSuchKernel
from nbclient import NotebookClient
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbformat.reader import NotJSONError

__all__ = ["NotebookProblem", "check_notebook", "find_notebook"]

BAR = 20


class NotebookProblem(RuntimeError):
    """A notebook that cannot be checked; the message says what to do."""


def find_notebook(assignment: str, course: str | os.PathLike = ".") -> Path:
    """The notebook that ``assignment`` means: a path, or the beginning of a name (``"a1"``).

    Raises
    ------
    NotebookProblem
        If there is none, or more than one.
    """
    if Path(assignment).suffix == ".ipynb" and Path(assignment).is_file():
        return Path(assignment)
    folder = Path(course) / "assignments"
    found = [*folder.glob(f"{assignment}/*.ipynb"), *folder.glob(f"{assignment}_*/*.ipynb")]
    if len(found) != 1:
        known = ", ".join(sorted(p.name for p in folder.glob("*") if p.is_dir())) or "none"
        raise NotebookProblem(f"No assignment {assignment!r} in {folder}; there is: {known}.")
    return found[0]


def check_notebook(path: str | os.PathLike, timeout: int = 120) -> tuple[float, float]:
    """Run a notebook's cells and print what its checks say, with a line of progress.

    Nothing is written into the notebook.

    Returns
    -------
    tuple of float
        The points that its checks gave, and those that they can give.

    Raises
    ------
    NotebookProblem
        If it cannot be read, or there is no kernel to run it.
    """
    path = Path(path)
    try:
        notebook = nbformat.read(path, as_version=4)
    except (OSError, NotJSONError, UnicodeDecodeError, AttributeError) as error:
        reason = getattr(error, "strerror", None) or "it is not a notebook"
        raise NotebookProblem(
            f"{path} cannot be read ({reason}): take a fresh copy of the assignment."
        ) from None
    client = NotebookClient(
        notebook,
        timeout=timeout,
        allow_errors=True,
        resources={"metadata": {"path": str(path.resolve().parent)}},
    )
    try:
        client.execute()
    except NoSuchKernel as error:
        raise NotebookProblem(
            f"There is no kernel {error.name!r} to run {path.name}: "
            "run `python -m ipykernel install --sys-prefix`."
        ) from None
    except (CellTimeoutError, DeadKernelError) as error:
        why = "took too long" if isinstance(error, CellTimeoutError) else "ended its kernel"
        print(f"A cell {why}; what follows is as far as the notebook came.\n")
    earned = possible = 0.0
    for cell in notebook.cells:
        if not (cell.metadata.get("nbgrader", {}).get("grade") and cell.cell_type == "code"):
            continue
        possible += float(cell.metadata.nbgrader.points)
        earned += _shown(cell)
    filled = round(BAR * earned / possible) if possible else 0
    print(f"\n{'█' * filled}{'░' * (BAR - filled)} {earned:g} of {possible:g} points")
    return earned, possible


def _shown(cell) -> float:
    """Print what a check printed; returns the points that it gave."""
    points = 0.0
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            print(output.text.rstrip())
        elif output.output_type == "error":
            print(f"{cell.source}: {output.ename}: {output.evalue}")
        elif output.output_type == "execute_result":
            points = float(output.data["text/plain"])
    if not cell.get("outputs"):
        print(f"{cell.source}: not reached")
    return points
