"""Rules about the nodes of the chain: set-up, endpoints, peers."""
