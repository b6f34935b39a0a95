"""The history: what is recorded of each attempt, where and when."""
