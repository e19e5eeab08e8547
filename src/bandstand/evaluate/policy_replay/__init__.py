"""Configured policies replayed over a log of decisions."""
