"""What `worker.py` is composed of: settings, loading, the server's checks, health, processes, logs, telemetry.

Its own name, and not one such as `service`, because it shares the import path with the user's modules.
"""
