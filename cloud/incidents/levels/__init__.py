"""The four response levels and what each demands."""
