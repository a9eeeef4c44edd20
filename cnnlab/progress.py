"""Progress bars where somebody watches, and none where an output is stored or compared."""

import os
import sys

from tqdm import tqdm

__all__ = ["progress_bar", "somebody_watches"]

# Set by Jupyter's and VS Code's servers, not by nbconvert.
LIVE = ("JPY_SESSION_NAME", "VSCODE_PID")


def somebody_watches() -> bool:
    """Whether a moving bar makes sense: at a terminal and in a notebook that a person has open.

    The environment variable ``CNNLAB_PROGRESS`` decides instead where it is set: ``0`` is never,
    anything else always. A notebook that nbconvert or nbval executes gets no bar.
    """
    wish = os.environ.get("CNNLAB_PROGRESS", "").strip()
    if wish:
        return wish != "0"
    if "ipykernel" in sys.modules:
        return any(name in os.environ for name in LIVE)
    return sys.stderr is not None and sys.stderr.isatty()


def progress_bar(total: int, title: str, shown: bool | None = None, **options) -> tqdm:
    """A bar of text, silent unless ``shown`` or, where that is None, `somebody_watches`.

    Not tqdm's widget: with it JupyterLab's page stood still for minutes in lecture 4.
    """
    shown = somebody_watches() if shown is None else shown
    return tqdm(total=total, desc=title, disable=not shown, leave=False, **options)
