"""Releases: the update repository, its keys' ceremony, and what each gateway runs."""
