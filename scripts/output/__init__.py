"""The committed output: read it, compare it, replace it at once; read it from git revisions."""
