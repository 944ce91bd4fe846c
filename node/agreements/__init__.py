"""What administrations signed with each other: the agreement, the acts on it, the state they add up to."""
