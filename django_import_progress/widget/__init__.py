"""Renders bars and lists of jobs as HTML."""
