"""Readers of logs: CSV, JSON Lines, Parquet."""
