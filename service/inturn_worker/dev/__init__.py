"""`inturn dev`: server, worker and reload on save, for agents that are being written."""
