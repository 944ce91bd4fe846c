"""The HTTP edge: routes, who may ask, and how refusals are told."""
