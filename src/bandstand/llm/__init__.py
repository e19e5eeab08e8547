"""The only outbound network code: chat models behind one protocol.

``chat`` holds the request, the reply and the protocol; ``providers`` speak the wires. ``middleware`` wraps any client
and is a client itself, from the outside in::

    RetryingClient(BreakerClient(BudgetedClient(CountingClient(OpenAICompatibleClient(...)))))

so that every try is a call the breaker has allowed and the budget has paid for.
"""
