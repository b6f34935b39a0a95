"""Migrations of the history app."""
