"""Where a journal keeps its rows: the port that a database fills, and SQLite."""
