"""What the strict local platforms share: serving an API on the loopback, and delivering with retries."""
