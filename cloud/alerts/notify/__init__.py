"""Telling people: channels, templates, deliveries with receipts and retries."""
