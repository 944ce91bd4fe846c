"""What a national system needs to feed a node, read it, and check its answers."""
