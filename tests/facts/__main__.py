"""``python -m tests.facts`` prints docs/errata.md."""

from tests.facts import errata_markdown

print(errata_markdown(), end="")
