# ruff: noqa: E501 (patterns)
"""A source's text without what is no code, every position kept."""

import re

__all__ = ["blank", "strip_comments"]


def blank(match: re.Match) -> str:
    """Spaces in the place of a match."""
    return re.sub(r"[^\n]", " ", match[0])


def strip_comments(text: str) -> str:
    """The text with comments, strings and ``#if 0`` blanked, every position kept."""
    pattern = r"//(?:\\\n|[^\n])*|/\*.*?\*/|\"(?:\\.|[^\"\\\n])*\"|'(?:\\.|[^'\\\n])*'"
    code = re.sub(pattern, blank, text, flags=re.S)
    dead = r"(?<=\n)[ \t]*#[ \t]*if[ \t]+0[ \t]*\n((?:(?![ \t]*#[ \t]*(?:if|el|endif))[^\n]*\n)*)(?=[ \t]*#[ \t]*(?:el|endif))"
    return re.sub(dead, blank, "\n" + code)[1:] if re.search(r"#[ \t]*if[ \t]+0", code) else code
