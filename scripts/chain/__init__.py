"""The configuration of Besu and Maru, their genesis files, and the identities of their keys."""
