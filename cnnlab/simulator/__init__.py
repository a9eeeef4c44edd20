"""CUDA C++ on a CPU: runs the blocks, watches every access, says what was wrong.

``include/`` makes C++ of CUDA; ``launcher/`` is the program that runs what was compiled, and that
each load and store calls. Its records become a report in `evidence`. `cnnlab.cuda` compiles and
launches, and nothing here imports it.
"""

from pathlib import Path

__all__ = ["INCLUDE", "LAUNCHER"]

INCLUDE = Path(__file__).parent / "include"
LAUNCHER = Path(__file__).parent / "launcher" / "launcher.cpp"
