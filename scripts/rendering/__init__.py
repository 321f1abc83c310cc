"""Render an environment's inputs to the manifests that are committed."""
