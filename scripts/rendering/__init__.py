"""From an environment to the manifests that are committed."""
