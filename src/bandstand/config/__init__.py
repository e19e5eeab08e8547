"""Settings; only wiring and cli read them."""
