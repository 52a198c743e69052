"""Device firmware: the channels against real peers, the jobs, and what is refused."""
