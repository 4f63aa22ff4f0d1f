"""What is read out of the log: transcripts, turns, outcomes, approvals."""
