"""Room for a conversation: who summarises what, what is cut, and when."""
