"""Real parts for tests: Redis and Valkey processes, an ASGI server, conditions to wait on."""
