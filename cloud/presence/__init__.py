"""Who is where they should be: posts, routes, areas, the evidence and what follows from it."""
