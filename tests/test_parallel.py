"""Many items on many processes: order kept, errors told, no child left."""
