"""One short script for each benchmark; `python -m benchmarks.NAME` or `make bench-NAME` runs it."""
