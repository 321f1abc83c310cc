"""Argo CD: what brings the objects to a cluster may do it, in an order that works."""
