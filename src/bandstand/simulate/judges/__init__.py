"""Judges of a simulation: the rule, a program, a language model."""
