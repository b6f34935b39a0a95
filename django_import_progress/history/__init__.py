"""History: an optional app that keeps every attempt at an import in the database."""
