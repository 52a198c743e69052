"""Configurations of gateways: documents, templates, history, what each runs, changes to many."""
