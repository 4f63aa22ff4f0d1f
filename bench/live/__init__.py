"""Answers as they come: how long a word takes from the model to who looks, and what that costs."""
