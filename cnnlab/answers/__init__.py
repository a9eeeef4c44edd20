"""The student's side of a check: what runs beside a student's code, and what crosses the border.

The other side, :mod:`cnnlab.checks`, believes nothing of what comes from here.
"""

from cnnlab.answers.networks import KINDS
from cnnlab.answers.observe import MODULE, Refused
from cnnlab.answers.runner import ALONE, answer, ask

__all__ = ["ALONE", "KINDS", "MODULE", "Refused", "answer", "ask"]
