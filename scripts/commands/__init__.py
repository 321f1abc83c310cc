"""One module a nox session: its arguments, and what it does with them."""
