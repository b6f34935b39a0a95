"""The two progress managers, and the registry that creates them from the settings."""
