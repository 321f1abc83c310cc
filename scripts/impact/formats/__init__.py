"""The ways to write a report: terminal, comment, page, and its pictures."""
