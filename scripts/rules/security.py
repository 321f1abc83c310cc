"""Security: no secret to read, no right too many, nothing open that should not be."""
