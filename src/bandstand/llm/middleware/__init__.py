"""What is wrapped around a client: retries, the circuit breaker, the budget, usage."""
