"""What a step waits for before its body runs, and how that shows."""
