"""The widget and the example in a real Chromium."""
