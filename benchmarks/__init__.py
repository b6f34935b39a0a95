"""Ratios against what people use today, each measured side by side in one run: `make bench`."""
