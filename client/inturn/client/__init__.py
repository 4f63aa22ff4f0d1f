"""The client: talks to Temporal about sessions, and reads the journal where it can."""
