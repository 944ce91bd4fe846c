"""What the node remembers: tables, queries, migrations. Knows nothing of rules, keys or HTTP."""
