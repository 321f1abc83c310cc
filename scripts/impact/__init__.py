"""Predict what merging a change does to the environments: compare, predict effects, report."""
