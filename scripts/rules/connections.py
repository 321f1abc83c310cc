"""Connections: NetworkPolicies let through what pods need, and no more."""
