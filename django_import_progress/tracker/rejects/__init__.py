"""Rejected rows of an import: guarding rows, keeping those that fail, and the report."""
