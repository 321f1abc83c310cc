"""Compare two revisions of an environment by meaning, not by text."""
