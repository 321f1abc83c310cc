"""What Kubernetes objects mean, read from manifests: workloads, selectors, policies, amounts."""
