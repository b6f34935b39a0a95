"""The smallest site that includes the app, for tests to be served from."""
