"""What people ask of a session beside its events: controls, approvals, dead letters, calls of unknown outcome."""
