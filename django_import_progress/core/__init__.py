"""The part that decides: pure, without Redis, Django, asyncio, threads, sockets or clocks."""
