"""The steps of a turn: everything that touches the world."""
