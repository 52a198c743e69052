"""South-side protocols that a profile's data cannot describe: one module each, pure."""
