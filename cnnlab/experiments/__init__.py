"""Experiments that lectures show: one seed in seconds, beside what several seeds gave.

>>> from cnnlab.experiments import run
>>> outcome = run("degradation")  # doctest: +SKIP
>>> outcome.plot()  # doctest: +SKIP
"""

from cnnlab.experiments.band import expect
from cnnlab.experiments.catalogue import EXPERIMENTS, Bench, Experiment
from cnnlab.experiments.networks import ConvStack, gradient_norms, scattered_digits
from cnnlab.experiments.outcome import Measured, MeasuredTable, Outcome, measured, run

__all__ = [
    "EXPERIMENTS",
    "Bench",
    "ConvStack",
    "Experiment",
    "Measured",
    "MeasuredTable",
    "Outcome",
    "expect",
    "gradient_norms",
    "measured",
    "run",
    "scattered_digits",
]
