"""The HTML of bars and of lists of jobs."""
