"""The formats of the overview."""
