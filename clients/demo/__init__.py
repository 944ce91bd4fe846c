"""Brazil and Uruguay on this machine: two real nodes sign an arrangement and exchange trusted traders."""
