"""Plans: a configuration compiled to graphs of sections."""
