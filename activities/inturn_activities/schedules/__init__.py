"""What a schedule does at its time."""
