"""The command line `aeo`: what people of an administration ask of, and tell, their own node."""
