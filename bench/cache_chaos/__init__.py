"""What the shared cache does when many ask at once and when things break, on real processes."""
