"""Servers of event streams to be measured: ours, and what people use today."""
