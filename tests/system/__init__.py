"""System tests: real processes, started by command line and checked from outside."""
