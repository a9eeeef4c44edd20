"""The pages that the hub's service shows: each says what may run on it."""

import re

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application

from cnnlab.grading.report import write_class_report

service = pytest.importorskip("cnnlab.grading.service", reason="needs `python3 set_up.py hub`")


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """What the service answers an instructor: status, policy and page."""
    monkeypatch.setenv("JUPYTERHUB_BASE_URL", "/")
    rounds = service.Rounds(tmp_path, 5)
    rounds.said.append((service.datetime.now(), "grade a1", 1, "<script>evil()</script>"))
    (tmp_path / "submitted/ann/<b onclick=evil()>").mkdir(parents=True)
    (tmp_path / "reports/a1").mkdir(parents=True)
    (tmp_path / "feedback/ann").mkdir(parents=True)

    def known(handler):
        told = {"get_current_user": lambda self: {"name": "ann"}, "xsrf_form_html": lambda self: ""}
        return type(handler.__name__, (handler,), told)

    told = {"rounds": rounds}
    pages = [("/", known(service._Overview), told), ("/(.+)", known(service._Page), told)]

    async def asked(path):
        socket, port = bind_unused_port()
        server = HTTPServer(Application(pages))
        server.add_socket(socket)
        address = f"http://127.0.0.1:{port}/{path}"
        reply = await AsyncHTTPClient().fetch(address, raise_error=False)
        server.stop()
        return reply.code, reply.headers["Content-Security-Policy"], reply.body.decode()

    return lambda path: service.asyncio.run(asked(path))


def test_the_overview_runs_no_script(ask):
    status, policy, page = ask("")
    assert status == 200 and "default-src 'none'" in policy and "script-src" not in policy
    assert "&lt;script&gt;evil()" in page and "<script" not in page and "<b onclick" not in page


def test_a_report_runs_its_own_script_alone(ask, tmp_path):
    write_class_report(tmp_path / "reports/a1/class.html", "a1", [], [], [])
    status, policy, page = ask("reports/a1/class.html")
    assert status == 200 and re.search(r"script-src 'sha256-[^']+'$", policy)
    assert "frame-ancestors 'none'" in policy and "<script" in page


@pytest.mark.parametrize("where", ["reports/a1/x.html", "feedback/ann/x.html"])
def test_a_page_that_says_nothing_of_scripts_runs_none(ask, tmp_path, where):
    late = '<meta http-equiv="Content-Security-Policy" content="script-src \'unsafe-inline\'">'
    (tmp_path / where).write_text("<html>" + "x" * 2000 + late + "<script>evil()</script>")
    status, policy, _ = ask(where)
    assert status == 200 and "default-src 'none'" in policy and "script-src" not in policy


@pytest.mark.parametrize("path", ["reports/../x.html", "gradebook.db", "reports/a1/x.json"])
def test_nothing_else_of_the_course_is_shown(ask, tmp_path, path):
    for name in ("x.html", "gradebook.db", "reports/a1/x.json"):
        (tmp_path / name).write_text("secret")
    status, policy, page = ask(path)
    assert status == 404 and "secret" not in page and "default-src 'none'" in policy
