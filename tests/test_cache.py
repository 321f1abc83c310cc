"""A render with nothing changed does nothing; any change counts."""
