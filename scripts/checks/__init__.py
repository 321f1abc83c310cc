"""The layers of validate and policy: they turn renderings into findings."""
