"""Learners in the background: the population prior and the shadows."""
