"""Labelled turns: training, cross-validation, measures."""
