"""Deleting what was said in sessions that ended long ago."""
