"""The step `run_tool`, and what it shares with deliveries."""
