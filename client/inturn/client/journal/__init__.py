"""What clients do with the journal alone."""
