"""The ledger: the rows that make each step happen once."""
