"""Availability: pods find places, updates and drains get on, blocks and JSON-RPC go on."""
