"""Redis clients of each kind: creating them from a URL, and running commands on them."""
