"""The decisions: pure code without Redis, Django, asyncio, threads, sockets or clocks."""
