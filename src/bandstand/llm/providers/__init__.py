"""Clients of the model providers: one module a wire, and what they share."""
