"""A run: policies play a plan, and what is measured of it."""
