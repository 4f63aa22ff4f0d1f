"""What people see of a session: its status, its details in the Temporal UI, search attributes, metrics."""
