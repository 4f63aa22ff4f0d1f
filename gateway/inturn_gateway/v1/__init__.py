"""`/v1`: sessions over HTTP, in the shapes of Claude Managed Agents with inturn's own fields beside them."""
