"""The benchmarks' own arithmetic: a wrong figure would be believed."""
