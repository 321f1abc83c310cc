"""Rules about chain nodes: keys, genesis, endpoints, peers, data and backups."""
