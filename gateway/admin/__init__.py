"""The admin routes."""
