"""What a machine lacks is no failure: the test that needs it is skipped and says what."""

import shutil

import pytest

NO_COMPILER = "no C++ compiler here: `apt install g++`"


def pytest_collection_modifyitems(items):
    """Cells that run a student's CUDA C++; nbval cannot skip a notebook by a mark of its own."""
    if shutil.which("g++"):
        return
    needing = {}
    for item in items:
        if item.path.suffix == ".ipynb":
            if item.path not in needing:
                needing[item.path] = "cuda.compile" in item.path.read_text(encoding="utf-8")
            if needing[item.path]:
                item.add_marker(pytest.mark.skip(reason=NO_COMPILER))


def _skip_without_compiler():
    try:
        return (yield)
    except RuntimeError as error:
        if type(error).__name__ == "CompilerMissing" and not shutil.which("g++"):
            pytest.skip(NO_COMPILER)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    return (yield from _skip_without_compiler())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _skip_without_compiler())
