"""The service that one customs administration runs: its ledger, its records, its agreements."""
