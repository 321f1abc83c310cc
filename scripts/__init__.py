"""The render pipeline: from an environment's few lines to the exact manifests a cluster runs."""
