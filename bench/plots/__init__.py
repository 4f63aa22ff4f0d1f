"""Plots of a run's curves and the page that shows them: `scripts/plots FILE.json [--out docs/bench]`."""
