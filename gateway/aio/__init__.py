"""asyncio building blocks: timers, tasks, batches. Nothing here depends on the gateway."""
