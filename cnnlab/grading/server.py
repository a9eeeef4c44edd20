"""A Jupyter server extension: nbgrader's pages, without three of their dangers and a nuisance.

Validate runs a whole notebook inside the request and the server stands still meanwhile; here it
runs in a process of its own. ``formgrader?path=DIR`` executes ``DIR/nbgrader_config.py`` in the
instructor's server, so that a link in a student's notebook would do; here it is refused. And all
that formgrader serves comes with a Content-Security-Policy: on its pages run its own scripts,
and no other; what is no page (a student's file, names as JSON) runs nothing, wherever a link leads.
A student whose exchange is missing, full or closed reads a sentence in the list of assignments, and
no traceback; nor is a fetch that failed passed over in silence.
It is on wherever cnnlab is installed (``etc/jupyter/jupyter_server_config.d/cnnlab.json``).
"""

import asyncio
import json
import secrets
import sys
import traceback
from types import SimpleNamespace

from jinja2 import Environment
from nbgrader.exchange import ExchangeError
from nbgrader.server_extensions.assignment_list import handlers as assignment_list
from nbgrader.server_extensions.formgrader import formgrader
from nbgrader.server_extensions.formgrader.base import BaseHandler
from nbgrader.server_extensions.formgrader.handlers import FormgraderHandler, SubmissionHandler
from nbgrader.server_extensions.validate_assignment.handlers import ValidateAssignmentHandler
from tornado import web

from cnnlab.grading.pages import Nonces, StudentsPage, policy
from cnnlab.grading.submit import why

__all__ = ["load_jupyter_server_extension"]

# For whatever is served beside the pages: opened by itself, it may show text and pictures.
NOTHING = "default-src 'none'; img-src 'self'; frame-ancestors 'self'; sandbox"
_CODE = (
    "import json, sys\n"
    "from types import SimpleNamespace as Like\n"
    "from nbgrader.server_extensions.validate_assignment import handlers\n"
    "import logging\n"
    "kind = handlers.ValidateAssignmentHandler\n"
    "like = Like(root_dir=sys.argv[1], log=logging.getLogger())\n"
    "like.load_config = lambda: kind.load_config(like)\n"
    "print('\\n' + json.dumps(kind.validate_notebook(like, sys.argv[2])))\n"
)


@web.authenticated
async def _validate(self):
    try:
        path = self.get_argument("path")
    except web.MissingArgumentError:
        path = self.get_json_body()["path"]
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", _CODE, str(self.root_dir), path, stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    try:
        output = json.loads(printed.splitlines()[-1])
    except (IndexError, ValueError):
        output = {"success": False, "value": "The validation ended without a result."}
    self.finish(json.dumps(output))


@web.authenticated
def _act(self, action):
    try:
        course, name = self.get_argument("course_id"), self.get_argument("assignment_id")
    except web.MissingArgumentError:
        course, name = map(self.get_json_body().get, ("course_id", "assignment_id"))
    act = action if action == "fetch_feedback" else f"{action}_assignment"
    done = getattr(self.manager, act)(course, name)
    if done["success"] or action == "fetch_feedback":  # there may be none yet
        done = self.manager.list_assignments(course)
    self.finish(json.dumps(done))


def _in_a_sentence() -> str:
    """What went wrong; a traceback where it is no matter of folders and disks."""
    error = sys.exception()
    usual = isinstance(error, ExchangeError | OSError | RuntimeError)
    return why(error) if usual else traceback.format_exc()


def _without_path(get):
    def guarded(self):
        if not self.get_argument("path", ""):
            return get(self)
        self.set_status(403)
        self.finish("Another folder's configuration is not run from a link.")

    return guarded


def _with_policy(get):
    def guarded(self, *args):
        get(self, *args)
        if isinstance(self.exporter, StudentsPage) and self.get_status() == 200:
            _allow(self, self.exporter.policy())

    return guarded


def _environment(**settings) -> Environment:
    """For formgrader's own pages: what stands in an address, or in a name, is text."""
    return Environment(autoescape=True, extensions=[Nonces], **settings)


def _render(self, name: str, **told) -> str:
    environment, nonce = self.settings["nbgrader_jinja2_env"], secrets.token_urlsafe(16)

    def allowed() -> str:
        return policy(nonce, environment.globals["csp_handlers"])

    page = environment.get_template(name).render(csp_nonce=lambda: nonce, csp=allowed, **told)
    _allow(self, allowed())
    return page


def _allow(handler, told: str) -> None:
    handler.set_header("Content-Security-Policy", f"{told}; frame-ancestors 'self'")


def load_jupyter_server_extension(server) -> None:
    """Put these in the place of nbgrader's own."""
    formgrader.HTMLExporter, formgrader.Environment = StudentsPage, _environment
    BaseHandler.content_security_policy = NOTHING
    BaseHandler.render = _render
    SubmissionHandler.get = _with_policy(SubmissionHandler.get)
    ValidateAssignmentHandler.post = _validate
    assignment_list.AssignmentActionHandler.post = _act
    # What it tells of any error is a traceback, and of the exchange's that it "does not exist".
    assignment_list.ExchangeError = ()
    assignment_list.traceback = SimpleNamespace(format_exc=_in_a_sentence)
    FormgraderHandler.get = _without_path(FormgraderHandler.get)
    server.log.info(
        "cnnlab: Validate runs aside, formgrader stays in its folder and runs no student's script"
    )


_load_jupyter_server_extension = load_jupyter_server_extension


def _jupyter_server_extension_points() -> list[dict]:
    return [{"module": "cnnlab.grading.server"}]
