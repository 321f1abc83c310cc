"""The formats of a report: terminal, comment, page, and their diagrams."""
