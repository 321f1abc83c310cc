"""How fast the pipeline is, beside other tools: `nox -s bench`."""
