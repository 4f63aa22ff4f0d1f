"""A fleet of streamed answers: what it costs, and whether it keeps up."""
