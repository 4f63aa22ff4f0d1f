"""What tests share: a real server, real workers, agents whose effects are counted outside the system."""
