"""Create an environment's chain: genesis and validators for git, private keys for Secrets."""
