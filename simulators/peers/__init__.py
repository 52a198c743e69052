"""Simulated peers on real sockets: each speaks its protocol with an encoder of its own, so that it can disagree."""
