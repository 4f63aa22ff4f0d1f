"""Traces and metrics of steps and turns."""
