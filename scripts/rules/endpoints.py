"""Endpoints: what a node is told to call answers there, and what others call listens."""
