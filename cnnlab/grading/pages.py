"""What a student wrote, made inert for pages that others open: feedback and formgrader.

An output keeps the MIME types of an allow-list; what is rendered from Markdown or HTML goes through
a sanitizer afterwards. `StudentsPage` puts a Content-Security-Policy around it all that would stop
a script that came through.
"""

import base64
import hashlib
import html
import re
import secrets
from pathlib import Path
from urllib.parse import unquote

import nh3
from jinja2 import pass_context
from jinja2.ext import Extension
from nbconvert import HTMLExporter, filters
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbconvert.preprocessors import Preprocessor
from nbformat import NotebookNode

__all__ = [
    "MakeInert", "Nonces", "StudentsPage", "ansi2html", "make_inert", "markdown2html", "policy"
]  # fmt: skip

PICTURES = ("image/png", "image/jpeg")
TEXTS = ("text/html", "text/latex", "text/markdown", "text/plain")
BASE64 = re.compile(r"[A-Za-z0-9+/=\s]*")
PICTURE = re.compile(r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/=\s]*")
TAGS = {
    "a", "b", "blockquote", "br", "code", "dd", "del", "details", "div", "dl", "dt", "em", "h1",
    "h2", "h3", "h4", "h5", "h6", "hr", "i", "img", "kbd", "li", "ol", "p", "pre", "s", "span",
    "strong", "sub", "summary", "sup", "table", "tbody", "td", "th", "thead", "tr", "u", "ul",
}  # fmt: skip
# No class and no id: by these the pages' own scripts find what belongs to them.
ATTRIBUTES = {
    "*": {"align", "title"},
    "a": {"href"},
    "img": {"alt", "height", "src", "width"},
    "td": {"colspan", "rowspan"},
    "th": {"colspan", "rowspan"},
}
# What a terminal obeys, but for the colours that nbconvert makes spans of.
CONTROL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles
    r"|\x1b\[[\d;?]*[A-Za-ln-z]"  # the cursor, the screen
    r"|[\x00-\x08\x0e-\x1a]"
)


def _attribute(tag: str, name: str, value: str) -> str | None:
    if name == "src":
        return value if PICTURE.fullmatch(value) else None
    if name == "href":  # a page of the student's own is no link
        return None if value.lower().startswith("data:") else value
    if name in ("width", "height", "colspan", "rowspan"):
        return value if re.fullmatch(r"\d{1,4}%?", value) else None
    return value


def clean(markup: str) -> str:
    """HTML without what acts in a browser or makes it fetch anything."""
    return nh3.clean(
        markup,
        tags=TAGS,
        attributes=ATTRIBUTES,
        attribute_filter=_attribute,
        url_schemes={"data", "http", "https", "mailto"},
        url_relative="deny",
    )


@pass_context
def markdown2html(context, source: str) -> str:
    """Render Markdown, then leave out what could act; a cell's pictures are put in."""
    attachments = (context.get("cell") or {}).get("attachments") or {}
    renderer = _Renderer(escape=False, attachments=attachments)
    try:
        return clean(MarkdownWithMath(renderer=renderer).render(source))
    except (Exception, RecursionError):  # whatever a person writes, the page can be read
        return f"<pre>{html.escape(source)}</pre>"


class _Renderer(IPythonRenderer):
    def _embed_image_or_attachment(self, src: str) -> str:
        name = src.removeprefix("attachment:")
        bundle = self.attachments.get(name) or self.attachments.get(unquote(name)) or {}
        return next((f"data:{kind};base64,{data}" for kind, data in bundle.items()), src)


def ansi2html(text: str) -> str:
    """Colours of a terminal as spans; nothing else that a terminal obeys."""
    return filters.ansi2html(CONTROL.sub("", text))


def make_inert(cell: NotebookNode) -> None:
    """Of a cell's outputs, keep what is on the allow-list, and pictures' sizes in pixels."""
    if cell.cell_type != "code":
        return
    kept = []
    for output in cell.get("outputs", ()):
        if output.output_type in ("display_data", "execute_result"):
            output.data = NotebookNode(filter(None, map(_harmless, output.data.items())))
            sizes = output.get("metadata", {})
            output.metadata = NotebookNode(
                {kind: _size(sizes.get(kind)) for kind in output.data if _size(sizes.get(kind))}
            )
            if not output.data:
                continue
        if output.output_type == "error":
            output.update({field: str(output[field]) for field in ("ename", "evalue")})
            lines = output.traceback if isinstance(output.traceback, list) else ()
            output.traceback = list(map(str, lines))
        if output.output_type == "stream" and not isinstance(output.text, str):
            continue
        if output.output_type in ("display_data", "execute_result", "stream", "error"):
            kept.append(output)
    cell.outputs = kept
    if not isinstance(cell.get("execution_count"), int):
        cell.execution_count = None


def _harmless(entry: tuple[str, object]) -> tuple[str, str] | None:
    kind, data = entry
    data = "".join(map(str, data)) if isinstance(data, list) else data
    if not isinstance(data, str):
        return None
    if kind == "image/svg+xml":  # as a picture of its own, where no script runs
        named = re.search(r'aria-label="([^"<>]*)"', data)
        data = base64.b64encode(data.encode("utf-8", "replace")).decode()
        alt = named[1] if named else "drawing"
        return "text/html", f'<img alt="{alt}" src="data:image/svg+xml;base64,{data}">'
    picture = kind in PICTURES and BASE64.fullmatch(data)
    return (kind, data) if picture or kind in TEXTS else None


def _size(told) -> NotebookNode:
    """A picture's width and height, where they are whole numbers."""
    told = told if isinstance(told, dict) else {}
    return NotebookNode(
        {
            side: value
            for side in ("width", "height")
            if isinstance(value := told.get(side), int) and 0 < value < 10_000
        }
    )


class MakeInert(Preprocessor):
    """For nbconvert: a notebook whose page does nothing by itself."""

    def preprocess_cell(self, cell, resources, index):
        make_inert(cell)
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            if "text/html" in data:
                data["text/html"] = clean(data["text/html"])
            if "text/latex" in data:
                data["text/latex"] = html.escape(data["text/latex"], quote=False)
        return cell, resources


# Formgrader waits for MathJax, which comes from the network, before it takes a mark.
_WITHOUT_MATHJAX = """<script>
window.MathJax ||= {Hub: {
    Config() {}, Queue() {}, Startup: {signal: {Interest(told) { told("End"); }}},
}};
</script>"""


# The feedback: as wide as the screen, and its table of contents names the tasks.
_WIDTH = """<meta name="viewport" content="width=device-width">
<style>
body { overflow-wrap: anywhere } table { overflow-wrap: normal }
img, svg { max-width: 100%; height: auto }
pre, .rendered_html table { display: block; overflow-x: auto; max-width: 100% }
.rendered_html td, .rendered_html th { padding: .2em .6em }
.output_area pre { white-space: pre-wrap; word-break: normal; overflow-wrap: anywhere }
div.nbgrader_cell .panel-heading { height: auto; overflow: hidden }
@media (max-width: 44rem) {
  .container, .panel-body, .cell, div#notebook-container { padding-left: 2px; padding-right: 2px }
}
</style></head>"""
_TASKS = {
    ">Test cell<": ">{{ cell.metadata.nbgrader.grade_id }}<",
    ">Comment<": ">{{ cell.metadata.nbgrader.grade_id }}: comment<",
    ">Written response<": ">{{ cell.metadata.nbgrader.grade_id }}: written answer<",
}


class Nonces(Extension):
    """Marks the scripts that a template brings, so that the page's policy allows no other."""

    def preprocess(self, source, name, filename=None):
        if filename and Path(filename).parent.name == "feedback":
            source = source.replace("</head>", _WIDTH)
            for words, named in _TASKS.items():
                source = source.replace(words, named)
        loaded = "<!-- MathJax configuration -->"
        source = source.replace(loaded, _WITHOUT_MATHJAX + loaded)
        source = re.sub(r"<script\b", '<script nonce="{{ csp_nonce() }}"', source)
        found = re.findall(r'\son[a-z]+="([^"{]*)"', source)
        self.environment.globals.setdefault("csp_handlers", set()).update(found)
        meta = '<meta http-equiv="Content-Security-Policy" content="{{ csp() }}">'
        return source.replace("<head>", f"<head>{meta}", 1)


class StudentsPage(HTMLExporter):
    """nbconvert's pages, with a Content-Security-Policy that only their own scripts pass."""

    nonce = ""

    def _create_environment(self):
        environment = super()._create_environment()
        environment.add_extension(Nonces)
        environment.globals |= {"csp_nonce": lambda: self.nonce, "csp": self.policy}
        return environment

    def policy(self) -> str:
        """The policy of the page that is being made, or was last."""
        return policy(self.nonce, self.environment.globals.get("csp_handlers", ()))

    def from_notebook_node(self, nb, resources=None, **kw):
        self.nonce = secrets.token_urlsafe(16)
        return super().from_notebook_node(nb, resources, **kw)


def policy(nonce: str, handlers=()) -> str:
    """No script but those marked with ``nonce``, and what they load; nothing sent elsewhere."""
    hashes = [base64.b64encode(hashlib.sha256(h.encode()).digest()).decode() for h in handlers]
    allowed = " ".join(f"'sha256-{h}'" for h in sorted(hashes))
    return "; ".join(
        (
            "default-src 'none'",
            f"script-src 'nonce-{nonce}' 'strict-dynamic' 'unsafe-eval'",
            f"script-src-attr 'unsafe-hashes' {allowed}" if allowed else "script-src-attr 'none'",
            "style-src 'self' 'unsafe-inline' https://cdnjs.cloudflare.com",
            "font-src 'self' data: https://cdnjs.cloudflare.com",
            "img-src 'self' data:",
            "connect-src 'self'",
            "form-action 'none'",
            "base-uri 'none'",
        )
    )
