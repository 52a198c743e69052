"""Users, roles, sessions, tokens, the one scope predicate, and the audit chain."""
