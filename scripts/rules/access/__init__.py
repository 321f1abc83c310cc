"""Rules about rights: RBAC, Secrets, pod security."""
