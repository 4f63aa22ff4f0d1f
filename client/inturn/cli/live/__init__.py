"""chat and tail: sessions as they go."""
