"""The documentation: each page is followed, each code block holds."""
