"""Airports, and how they get into the database."""
