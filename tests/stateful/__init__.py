"""Random schedules of writes, faults and watchers against real processes, and what must hold."""
