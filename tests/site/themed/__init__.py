"""Admins with bars, as urlconfs."""
