"""South side: one module a protocol; bytes or nodes in, samples out."""
