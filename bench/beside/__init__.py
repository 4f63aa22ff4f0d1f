"""inturn beside the ways people do this today, on one server in one run."""
