"""The estimators, from rows in memory or in chunks."""
