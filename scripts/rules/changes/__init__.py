"""Rules about the effects of a change on deployed objects."""
