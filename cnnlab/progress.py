"""Progress bars where somebody watches, and none where an output is stored or compared."""

import os
import sys

try:
    from tqdm import tqdm
except ModuleNotFoundError:  # a lab machine's own Python, which runs what only a GPU can show
    tqdm = None

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


class _NoBar:
    """What is asked of a bar, where there is none."""

    disable = True

    def __enter__(self):
        return self

    def __exit__(self, *raised):
        pass

    def _ignore(self, *args, **options):
        pass

    close = set_description = set_postfix_str = update = _ignore


def progress_bar(total: int, title: str, shown: bool | None = None, **options) -> "tqdm | _NoBar":
    """A bar of text, silent unless ``shown`` or, where that is None, `somebody_watches`.

    Not tqdm's widget: with it JupyterLab's page stood still for minutes in lecture 4.
    """
    shown = somebody_watches() if shown is None else shown
    if tqdm is None:
        return _NoBar()
    return tqdm(total=total, desc=title, disable=not shown, leave=False, **options)
