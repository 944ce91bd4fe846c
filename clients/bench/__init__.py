"""Measurements on this machine, against real node processes, each with the conditions it was made under."""
