"""Devices, communities and load that speak over real sockets."""
