"""Benchmarks: every figure is a ratio within one run, so that it means something on any machine. `make bench`."""
