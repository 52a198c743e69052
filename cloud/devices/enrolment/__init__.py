"""Enrolment: the certificate authority, claim codes, EST and what a gateway needs to begin."""
