"""Change: what runs can become what is written here, and nothing is lost on the way."""
