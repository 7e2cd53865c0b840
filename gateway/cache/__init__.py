"""The cache: freshness, keys, refreshes, and the stores that hold entries."""
