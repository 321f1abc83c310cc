"""Capacity: what runs has room, in the quota, on a node and in a container."""
