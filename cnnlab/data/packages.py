"""Files that an installed package ships, found without importing the package."""

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

__all__ = ["shipped_file"]


def shipped_file(package: str, path: str, distribution: str | None = None) -> Path:
    """Where a file lies that comes with ``package``.

    Parameters
    ----------
    package
        As it is imported, such as ``"skimage"``; it is looked up, not imported.
    path
        Of the file in the package's folder.
    distribution
        As the package is installed, if that is another name, such as ``"scikit-image"``.

    Raises
    ------
    ModuleNotFoundError
        If the package is not installed.
    FileNotFoundError
        If the installed version has no such file.
    """
    distribution = distribution or package
    spec = find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise ModuleNotFoundError(
            f"{Path(path).name} comes with the package {distribution}, which is not installed: "
            f"run pip install {distribution}",
            name=package,
        )
    for folder in spec.submodule_search_locations:
        if (file := Path(folder) / path).is_file():
            return file
    try:
        which = f"{distribution} {version(distribution)}"
    except PackageNotFoundError:
        which = distribution
    raise FileNotFoundError(f"{which} has no file {path}: install the version of constraints.txt")
