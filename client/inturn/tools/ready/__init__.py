"""Ready tools: files below a folder, and HTTP with an allow list."""
