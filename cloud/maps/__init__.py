"""What is drawn on the map: outlines, posts, devices, incidents, and members for who may see them."""
