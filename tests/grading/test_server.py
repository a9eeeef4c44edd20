"""nbgrader's pages in the server that `make lab` starts; the set-up has enabled cnnlab's part."""

import json
import os
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from tests.course import lab


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    config = (lab.ROOT / "nbgrader_config.py").read_text()
    for name in ("root", "cache"):
        config += f"c.Exchange.{name} = {str(folder / 'exchange' / name)!r}\n"
    (folder / "nbgrader_config.py").write_text(config)
    slow = new_notebook(cells=[new_code_cell("import time\ntime.sleep(3)")])
    nbformat.write(slow, folder / "slow.ipynb")
    (folder / "other").mkdir()
    (folder / "other/nbgrader_config.py").write_text(f"open({str(folder / 'ran')!r}, 'w')\n")
    options = ["--no-browser", "--ServerApp.disable_check_xsrf=True"]
    env = {**os.environ, "JUPYTER_CONFIG_DIR": str(folder / "config")}
    with lab.start_server(folder, "jupyterlab", *options, env=env) as address:
        yield folder, address


def get(address: str, data: dict | None = None) -> bytes:
    request = urllib.request.Request(address, headers={"Authorization": "token token"})
    if data:
        request.data = urllib.parse.urlencode(data).encode()
    with urllib.request.urlopen(request, timeout=120) as reply:
        return reply.read()


def test_the_server_answers_while_validate_runs(server):
    _, address = server
    with ThreadPoolExecutor() as pool:
        began = time.monotonic()
        validating = pool.submit(get, f"{address}/assignments/validate", {"path": "slow.ipynb"})
        answered = 0
        while not validating.done():
            get(f"{address}/api/status")
            answered += 1
            time.sleep(0.2)
        took = time.monotonic() - began
    result = json.loads(validating.result())
    assert result["success"] is True, result
    assert took > 3 and answered >= 5


def test_validate_stays_in_the_server_s_folder(server):
    _, address = server
    result = None
    try:
        result = json.loads(get(f"{address}/assignments/validate", {"path": "../../x.ipynb"}))
    except urllib.error.HTTPError as error:
        assert error.code in (403, 404)
    assert result is None or result["success"] is False


def test_an_exchange_that_cannot_be_used_is_a_sentence_in_the_list_of_assignments(server):
    folder, address = server
    exchange = folder / "exchange/root"
    told = {"course_id": "cnnlab", "assignment_id": "week1"}

    def said(what: str, data: dict | None = None) -> str:
        answer = json.loads(get(f"{address}/{what}", data))
        assert answer["success"] is not isinstance(answer["value"], str), answer
        return answer["value"]

    unwritable = f"Unwritable directory, please contact your instructor: {exchange}"
    assert said("courses") == said("assignments?course_id=cnnlab") == unwritable
    exchange.mkdir(parents=True)
    assert said("courses") == []
    released = exchange / "cnnlab/outbound/week1"
    assert said("assignments/fetch", told) == f"Assignment not found at: {released}"
    released.mkdir(parents=True)
    (released / "week1.ipynb").write_text(nbformat.writes(new_notebook()))
    assert [one["status"] for one in said("assignments/fetch", told)] == ["fetched"]
    inbound = exchange / "cnnlab/inbound"
    assert said("assignments/submit", told) == f"Inbound directory doesn't exist: {inbound}"
    inbound.mkdir()
    both = ["fetched", "submitted"]
    for what in ("submit", "fetch_feedback"):  # there is no feedback yet
        assert [one["status"] for one in said(f"assignments/{what}", told)] == both
    shutil.rmtree(exchange)
    assert said("assignments/submit", told) == unwritable


def test_formgrader_runs_no_other_folder_s_configuration(server):
    folder, address = server
    with pytest.raises(urllib.error.HTTPError) as refused:
        get(f"{address}/formgrader?path={folder / 'other'}")
    assert refused.value.code == 403
    assert not (folder / "ran").exists()
