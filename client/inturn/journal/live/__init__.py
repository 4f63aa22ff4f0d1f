"""Answers as they come, beside the log: previews, and who looks at them."""
