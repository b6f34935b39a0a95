"""Airports, and their import into the database."""
