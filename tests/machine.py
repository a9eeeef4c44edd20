"""What a machine lacks is no failure: the test that needs it is skipped and says what.

And tests take no longer than they must.
"""

import atexit
import contextlib
import functools
import gc
import os
import re
import shutil

import pytest

NO_COMPILER = "no C++ compiler here: `apt install g++`"
# Here a missing compiler becomes a verdict on the kernel, or a sentence, and no exception.
JUDGED = re.compile(
    r"tests/checks/test_ladder|tests/checks/test_kernel_tasks|where_possible_hides|\ba6\b"
    r"|test_example_course.py::test_(a_class|nbgraders_own|a_variant)"
)


@functools.cache
def _text(path):
    return path.read_text(encoding="utf-8")


@pytest.hookimpl(wrapper=True)
def pytest_collection():
    """Garbage is not sought in what is imported and collected: none of it ever goes."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()
        atexit.register(gc.unfreeze)


def pytest_collectstart(collector):
    """nbval compares with the outputs that a notebook stores; solutions have to run only."""
    if hasattr(collector, "compare_outputs") and "solutions" in collector.nodeid.split("/"):
        collector.compare_outputs = False


def pytest_collection_modifyitems(items):
    if shutil.which("g++"):
        return
    for item in items:
        if JUDGED.search(item.nodeid) or (
            item.path.suffix == ".ipynb" and "cuda.compile" in _text(item.path)
        ):
            item.add_marker(pytest.mark.skip(reason=NO_COMPILER))


def _skip_without_compiler():
    try:
        return (yield)
    except Exception as error:
        if "no C++ compiler" in str(error) and not shutil.which("g++"):
            pytest.skip(NO_COMPILER)
        raise


@contextlib.contextmanager
def _as_on_the_hub():
    """A notebook's kernel is a fork of a process that has imported torch."""
    from jupyter_client.provisioning import KernelProvisionerFactory

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CNNLAB_DEVICE", "cpu")
        patch.setenv("JUPYTER_DEFAULT_PROVISIONER_NAME", "cnnlab-warm")
        KernelProvisionerFactory.clear_instance()  # it asks once in a process
        try:
            yield
        finally:
            KernelProvisionerFactory.clear_instance()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with _as_on_the_hub() if item.path.suffix == ".ipynb" else contextlib.nullcontext():
        return (yield from _skip_without_compiler())


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    return (yield from _skip_without_compiler())


def pytest_runtest_logreport(report):
    """Tell whoever runs the rest elsewhere, as `.ci/run` does, what was skipped here."""
    path = os.environ.get("CNNLAB_SKIPPED")
    if path and report.skipped and "PYTEST_XDIST_WORKER" not in os.environ:
        with open(path, "a", encoding="utf-8") as file:
            file.write(report.nodeid + "\n")
