"""Drills that run through the production rules and are scored."""
