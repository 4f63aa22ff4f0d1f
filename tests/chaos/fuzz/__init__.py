"""The fuzzer: hostile payloads at every input of a live session, with innocent sessions beside it."""
