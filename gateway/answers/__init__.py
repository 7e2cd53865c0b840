"""Answers: outcomes written as one document."""
