"""What must be survived: each fault is provoked for real, and each test has a negative control."""
