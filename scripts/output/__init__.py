"""The committed output: read, compared, replaced at once; and what git revisions have of it."""
