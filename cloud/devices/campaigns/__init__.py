"""Campaigns: changes to many gateways or devices in waves, with gates, pause and return."""
