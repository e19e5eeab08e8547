"""Bandstand: a contextual-bandit serving service."""

__version__ = "0.1.0"
