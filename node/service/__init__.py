"""The use cases: admit a change, sign an agreement, look up an operator; and the one writer."""
