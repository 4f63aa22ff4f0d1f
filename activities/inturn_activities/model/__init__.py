"""The step `call_model`."""
