"""Migrations of the airports."""
