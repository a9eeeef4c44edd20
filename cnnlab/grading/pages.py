"""What a student wrote, made harmless for pages that others open: feedback and formgrader.

``HTMLExporter.sanitize_html`` cleans outputs; nbgrader's templates render Markdown cells as they
are. These two take the place of nbconvert's filters of the same names.
"""

import re

import bleach
from nbconvert import filters

__all__ = ["ansi2html", "markdown2html"]

TAGS = bleach.ALLOWED_TAGS | {
    "br", "dd", "del", "details", "div", "dl", "dt", "h1", "h2", "h3", "h4", "h5", "h6", "hr",
    "img", "kbd", "p", "pre", "s", "span", "sub", "summary", "sup", "table", "tbody", "td", "th",
    "thead", "tr", "u",
}  # fmt: skip
ATTRIBUTES = {
    "*": ["align", "class", "id", "title"],
    "a": ["href"],
    "img": ["alt", "height", "src", "width"],
}
PROTOCOLS = {"data", "http", "https", "mailto"}
# What a terminal obeys, but for the colours that nbconvert makes spans of.
CONTROL = re.compile(
    r"\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?"  # titles
    r"|\x1b\[[\d;?]*[A-Za-ln-z]"  # the cursor, the screen
    r"|[\x00-\x08\x0e-\x1a]"
)


def markdown2html(source: str) -> str:
    """Render Markdown, then leave out what could act in a browser."""
    return bleach.clean(
        filters.markdown2html(source),
        tags=TAGS,
        attributes=ATTRIBUTES,
        protocols=PROTOCOLS,
        strip=True,
    )


def ansi2html(text: str) -> str:
    """Colours of a terminal as spans; nothing else that a terminal obeys."""
    return filters.ansi2html(CONTROL.sub("", text))
