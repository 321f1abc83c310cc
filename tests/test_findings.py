"""The four ways to tell a finding, and the places that they name."""
