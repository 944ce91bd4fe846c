"""Programs that talk to a node over HTTP, or check offline what a node has said."""
