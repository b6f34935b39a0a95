"""What can be done from a command line."""
