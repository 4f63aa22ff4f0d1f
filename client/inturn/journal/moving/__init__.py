"""Moving a journal to another database."""
