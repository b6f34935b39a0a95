"""HTTP views, event streams and WebSockets."""
