"""The budgets, measured beside a bare workflow, and the cost curves: `python -m bench`."""
