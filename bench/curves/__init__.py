"""Cost curves: how the cost of a turn changes with age, company, what waits, worker processes and a cold start."""
