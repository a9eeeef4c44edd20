"""``python -m cnnlab.facts`` prints docs/errata.md."""

from cnnlab.facts import errata_markdown

print(errata_markdown(), end="")
