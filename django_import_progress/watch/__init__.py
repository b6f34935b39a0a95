"""Watching jobs: one subscription per process and event loop, for any number of watchers."""
