"""The budgets, measured beside a bare workflow: `python -m bench`."""
