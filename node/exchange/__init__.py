"""Channels, sealing, cards, signed requests, and both directions of replication."""
