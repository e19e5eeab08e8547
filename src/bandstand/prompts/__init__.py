"""Prompts with names: versions as files, rendered with fenced values."""
