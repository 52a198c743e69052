"""Patrol members, what they carry, their shifts, and strength."""
