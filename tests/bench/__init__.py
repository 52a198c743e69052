"""The benchmarks behind `./patrol bench`; each module prints a table and writes JSON under `bench-results/`."""
