"""The parts of the documentation that are written by this program."""
