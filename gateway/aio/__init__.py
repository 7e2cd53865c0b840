"""asyncio building blocks: timers, tasks, batches. Nothing here knows the gateway."""
