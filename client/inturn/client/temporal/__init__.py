"""The calls to Temporal, and what their errors mean to users."""
