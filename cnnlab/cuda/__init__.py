"""Students' CUDA C++: compiled, run and diagnosed on a CPU, launched on a GPU where there is one.

>>> from cnnlab import cuda
>>> kernel = cuda.compile(source)                       # doctest: +SKIP
>>> report = kernel[grid, block](image, out, h, w)      # doctest: +SKIP
>>> report.ok, report.per_output("global")              # doctest: +SKIP
"""

from cnnlab.cuda.compiler import CompilerMissing, where_possible
from cnnlab.cuda.cpu import KernelFailed
from cnnlab.cuda.kernel import Kernel, compile
from cnnlab.cuda.launching import LaunchError
from cnnlab.cuda.source import CompileError
from cnnlab.cuda.workers import LabFailed
from cnnlab.simulator.report import Finding, Report

__all__ = [
    "CompileError",
    "CompilerMissing",
    "Finding",
    "Kernel",
    "KernelFailed",
    "LabFailed",
    "LaunchError",
    "Report",
    "compile",
    "where_possible",
]
