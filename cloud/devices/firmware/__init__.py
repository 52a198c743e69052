"""Firmware of devices: which version each runs, the orders to their gateways, and the campaign kind that changes it."""
