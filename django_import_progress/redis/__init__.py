"""Redis clients of every kind: from a URL to a client, and commands performed on it."""
