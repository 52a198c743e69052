"""Time series: one protocol, and the stores that keep it."""
