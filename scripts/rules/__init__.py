"""Rules across objects: mistakes that pass every schema. One module per family."""
