"""The session: a pure inbox and turn, in a thin Temporal shell."""
