"""Run the lectures on this machine's device and compare with their stored outputs.

``CNNLAB_DEVICE=cuda python -m benchmarks.lectures [lectures/04_lenet.ipynb ...]``; needs nbclient
and ipykernel. As nbval compares them: text and HTML, not pixels, not what is tagged
``nbval-ignore-output`` or ``nbval-skip``. Nothing is written into the notebooks.
"""

import sys
import tempfile
from pathlib import Path

import nbformat
from jupyter_client.manager import AsyncKernelManager
from nbclient import NotebookClient

LECTURES = Path(__file__).parents[1] / "lectures"
COMPARED = ("text/plain", "text/html", "text/latex", "text/markdown")


def texts(cell) -> dict[str, str]:
    """What a cell printed and showed, as text, by where it went."""
    told: dict[str, str] = {}
    for output in cell.get("outputs", ()):
        if output.output_type == "stream":
            told[output.name] = told.get(output.name, "") + output.text
        elif output.output_type == "error":
            told["error"] = f"{output.ename}: {output.evalue}"
        else:
            for kind in COMPARED:
                if kind in output.data:
                    told[kind] = told.get(kind, "") + str(output.data[kind])
    return told


def differences(path: Path) -> list[str]:
    """A sentence for each cell that prints something else here, or raises."""
    stored = nbformat.read(path, as_version=4)
    fresh = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as sockets:
        client = NotebookClient(
            fresh,
            # no ports, for which several at once would race
            km=AsyncKernelManager(transport="ipc", ip=f"{sockets}/kernel"),
            timeout=120,
            allow_errors=True,
            resources={"metadata": {"path": str(path.parent)}},
        )
        try:
            client.execute()
        except Exception as error:  # a dead kernel, a cell without end: the other lectures go on
            return [f"{type(error).__name__}: {str(error).splitlines()[0]}"]
    found = []
    for number, (old, new) in enumerate(zip(stored.cells, fresh.cells, strict=True)):
        got, want = texts(new), texts(old)
        ignored = {"nbval-ignore-output", "nbval-skip"} & set(old.metadata.get("tags", ()))
        if "error" in got and "error" not in want:
            found.append(f"cell {number}: {got['error']}")
        elif not ignored and got != want:
            kind = next(k for k in {**want, **got} if got.get(k) != want.get(k))
            found.append(f"cell {number}: {kind} is {got.get(kind)!r}, not {want.get(kind)!r}")
    return found


def main() -> int:
    paths = [Path(p) for p in sys.argv[1:]] or sorted(LECTURES.glob("*.ipynb"))
    wrong = 0
    for path in paths:
        found = differences(path)
        wrong += bool(found)
        print(f"{path.name}: {'as stored' if not found else 'DIFFERS'}", *found, sep="\n  ")
        sys.stdout.flush()
    print(f"{len(paths) - wrong} of {len(paths)} lectures print what they store")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
