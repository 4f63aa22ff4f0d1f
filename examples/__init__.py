"""One idea per file; `demo` shows all of it at once. Examples import only `inturn`, as your code does."""
