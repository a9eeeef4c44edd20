"""A class on a JupyterHub: a service that grades by itself and shows its reports to instructors.

Every few minutes, or when its button is pressed, it runs ``cnnlab collect``, ``cnnlab grade``
where something has come in, and ``cnnlab feedback``, and where that told anybody anything,
``cnnlab grade`` once more for the reports; in the course's folder, as the account that owns it.
Whom the hub gives the scope ``access:services!service=...`` sees what those commands said, and the
pages in ``reports/`` and ``feedback/``.
"""

import argparse
import asyncio
import html
import os
import re
import sys
from collections import deque
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from urllib.parse import quote, urlparse

from jupyterhub.services.auth import HubOAuthCallbackHandler, HubOAuthenticated
from tornado import web

from cnnlab.grading.exchange import STATE
from cnnlab.grading.report import FORMGRADER, STYLE

__all__ = ["Rounds", "main"]

PAGES = ("reports", "feedback")
POLICY = "base-uri 'none'; frame-ancestors 'none'; "
OWN = POLICY + "default-src 'none'; style-src 'unsafe-inline'"
# A page that grading wrote says at its beginning what may run on it.
TOLD = re.compile(rb'<meta http-equiv="Content-Security-Policy" content="([^"]*)"')
MORE = """button { font: inherit; padding: .4rem 1rem; min-height: 2.75rem }
pre { white-space: pre-wrap; overflow-wrap: anywhere; background: var(--soft); padding: .8rem }
.bad { border-left: 4px solid var(--red); padding-left: .8rem }"""


class Rounds:
    """Collecting, grading and telling, one round at a time."""

    def __init__(self, course: Path, minutes: float):
        self.course, self.minutes = course, minutes
        self.said: deque[tuple[datetime, str, int, str]] = deque(maxlen=50)
        self.ended: datetime | None = None
        self.asked = asyncio.Event()
        self.running = False

    async def forever(self) -> None:
        while True:
            self.running = True
            try:
                await self.round()
            finally:
                self.running, self.ended = False, datetime.now()
            try:
                wait = 60 * self.minutes if self.minutes else None
                await asyncio.wait_for(self.asked.wait(), wait)
            except TimeoutError:
                pass
            self.asked.clear()

    async def round(self) -> None:
        await self._run("collect")
        await self._grade()
        await self._run("feedback")
        await self._grade()

    async def _grade(self) -> None:
        for name in self.assignments():
            if self.is_waiting(name):
                await self._run("grade", name)

    async def _run(self, *args: str) -> None:
        """Run a command to its end; what it has to say is kept for the page and the hub's log."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "cnnlab", *args, cwd=self.course,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
        )  # fmt: skip
        printed, _ = await process.communicate()
        text = printed.decode("utf-8", "replace").strip()
        if text != "Nothing new.":
            self.said.appendleft((datetime.now(), " ".join(args), process.returncode, text))
            print(f"cnnlab {' '.join(args)} (status {process.returncode}): {text}", flush=True)

    def assignments(self) -> list[str]:
        submitted = self.course / "submitted"
        return sorted({path.name for path in submitted.glob("*/[!.]*") if path.is_dir()})

    def submissions(self, name: str) -> list[Path]:
        return [p for p in (self.course / "submitted").glob(f"*/{name}") if p.is_dir()]

    def is_waiting(self, name: str) -> bool:
        """Whether a submission came in, or feedback went out, that no report tells of."""
        reports = self.course / "reports" / name
        told = [p for p in (*self.submissions(name), reports / STATE) if p.exists()]
        newest = max((p.stat().st_ctime for p in told), default=0)
        report = reports / "class.html"
        return newest > (report.stat().st_mtime if report.is_file() else 0)


class _Handler(HubOAuthenticated, web.RequestHandler):
    def initialize(self, rounds: Rounds):
        self.rounds = rounds

    def set_default_headers(self):
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", OWN)


class _Overview(_Handler):
    @web.authenticated
    def get(self):
        self.finish(_page(self.rounds, self.xsrf_form_html()))

    @web.authenticated
    def post(self):
        self.rounds.asked.set()
        self.redirect(os.environ["JUPYTERHUB_SERVICE_PREFIX"])


class _Page(_Handler):
    @web.authenticated
    def get(self, shown: str):
        """One of the pages that grading wrote; no other file of the course."""
        path = (self.rounds.course / shown).resolve()
        roots = [(self.rounds.course / name).resolve() for name in PAGES]
        if path.suffix != ".html" or not any(path.is_relative_to(root) for root in roots):
            raise web.HTTPError(404)
        try:
            content = path.read_bytes()
        except OSError:
            raise web.HTTPError(404) from None
        if told := TOLD.search(content, 0, 1000):
            self.set_header("Content-Security-Policy", POLICY + told[1].decode())
        server = f"{os.environ['JUPYTERHUB_BASE_URL']}user/{self.current_user['name']}"
        formgrader = quote(f"{server}/formgrader", safe="/")
        self.finish(content.replace(FORMGRADER.encode(), formgrader.encode()))


def _page(rounds: Rounds, xsrf: str) -> str:
    rows = []
    for name in rounds.assignments():
        report = rounds.course / "reports" / name / "class.html"
        when, link = "not yet", html.escape(name)
        if report.is_file():
            when = f"{datetime.fromtimestamp(report.stat().st_mtime):%d %b %H:%M}"
            link = f'<a href="reports/{link}/class.html">{link}</a>'
        rows.append(f"<tr><td>{link}<td class=n>{len(rounds.submissions(name))}<td class=n>{when}")
    head = "<thead><tr><th>class report<th class=n>submissions<th class=n>graded</thead>"
    table = f"<table>{head}{''.join(rows)}</table>" if rows else "<p>Nothing was handed in yet.</p>"
    if rounds.running:
        state = "A round is running; this page shows more when you load it again."
    else:
        each = f", and one begins every {rounds.minutes:g} minutes" if rounds.minutes else ""
        state = f"The last round ended at {rounds.ended:%H:%M:%S}{each}." if rounds.ended else ""
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width">'
        f"<title>Grading</title><style>{STYLE}{MORE}</style><h1>Grading</h1>{table}"
        f"<p>{state}<form method=post>{xsrf}<button>Collect and grade now</button></form>"
        f"<h2>What was done</h2>{''.join(_said(rounds.said)) or 'Nothing yet.'}"
    )


def _said(said: Iterable[tuple[datetime, str, int, str]]) -> Iterable[str]:
    for when, command, status, text in said:
        mark = " class=bad" if status else ""
        yield f"<div{mark}>{when:%d %b %H:%M:%S} <code>cnnlab {html.escape(command)}</code>"
        yield f"<pre>{html.escape(text)}</pre></div>"


async def _serve(rounds: Rounds) -> None:
    prefix, address = (os.environ[f"JUPYTERHUB_SERVICE_{what}"] for what in ("PREFIX", "URL"))
    known = {"rounds": rounds}
    app = web.Application(
        [
            (prefix, _Overview, known),
            (prefix + "oauth_callback", HubOAuthCallbackHandler),
            (prefix + r"((?:reports|feedback)/.+)", _Page, known),
        ],
        cookie_secret=os.urandom(32),
        xsrf_cookies=True,
    )
    url = urlparse(address)
    app.listen(url.port, url.hostname)
    await rounds.forever()


def main() -> None:
    """Serve as the hub's service; its environment says where."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--minutes", type=float, default=5, help="between two rounds; 0: only on demand"
    )
    args = parser.parse_args()
    try:
        asyncio.run(_serve(Rounds(Path.cwd(), args.minutes)))
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        sys.exit(f"The grading service cannot serve ({error}).")
    except KeyError as missing:
        sys.exit(f"The grading service is started by JupyterHub: {missing} is not set.")


if __name__ == "__main__":
    main()
