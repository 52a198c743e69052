"""Work in the field: discovered devices, adoption, walk tests, acceptance, replacement."""
