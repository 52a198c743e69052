"""Alarms: raised, acknowledged, cleared, and everything that happened to them."""
