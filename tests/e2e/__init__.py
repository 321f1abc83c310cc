"""What is committed syncs, heals, updates, survives and is removed: on a real cluster's parts."""
