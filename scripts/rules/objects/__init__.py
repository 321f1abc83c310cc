"""Rules about any object: fields, names, references."""
