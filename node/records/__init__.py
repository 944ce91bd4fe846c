"""Who the operator is: the record, its identifiers, its life cycle, and the credential that carries it."""
