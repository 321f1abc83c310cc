"""Make the repository one's own: copy environments under new names, and replace the examples."""
