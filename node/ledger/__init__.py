"""The verifiable log: what is signed and hashed, byte for byte, and the proofs over it."""
