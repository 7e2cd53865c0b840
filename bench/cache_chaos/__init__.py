"""Checks of the shared cache under concurrency and faults, on real processes."""
