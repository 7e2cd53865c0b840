"""Answers: write outcomes as one document."""
