"""Rules about what a change does to objects that are deployed."""
