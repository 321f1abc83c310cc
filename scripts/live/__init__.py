"""What runs: a live cluster, compared with what is committed. It only reads."""
