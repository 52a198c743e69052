"""The fleet: gateways, devices, their latest values, and when silence becomes a state."""
