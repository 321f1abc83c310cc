"""What Besu and Maru run with, and the identities of their keys."""
