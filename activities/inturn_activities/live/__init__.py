"""What models say, on its way to who looks."""
