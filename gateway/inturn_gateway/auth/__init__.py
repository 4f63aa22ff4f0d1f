"""Who asks: API keys and tokens, each of one tenant."""
