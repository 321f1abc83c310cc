"""Chain: nodes have keys, find each other, and what watches them sees them."""
