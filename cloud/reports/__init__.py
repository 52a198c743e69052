"""Reviews of a node and a period, as pages, PDF and tables."""
