"""Two revisions of an environment, and what differs between them by meaning."""
