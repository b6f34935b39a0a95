"""The two progress managers, and the registry that makes them from the settings."""
