"""Were events lost, repeated or reordered? Books that were kept apart, compared."""
