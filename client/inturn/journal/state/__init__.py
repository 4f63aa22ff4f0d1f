"""Shared state: values and queues whose operations happen once per call."""
