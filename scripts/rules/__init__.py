"""Rules across objects: what passes every schema, and still breaks. One file a family."""
