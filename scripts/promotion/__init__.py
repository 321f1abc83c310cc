"""Moving releases from environment to environment, and making them."""
