"""An environment's own chain: its genesis and public names for git, its keys for Secrets."""
