"""Tests of the comparison with a live cluster."""
