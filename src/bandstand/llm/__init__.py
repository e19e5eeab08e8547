"""The only outbound network code: chat models behind one protocol.

``chat`` holds the nouns, ``openai_compatible`` and ``anthropic`` the two wires, ``provider`` what these have in common,
``scripted`` is a model without a network.
``retry``, ``breaker`` and ``budget`` wrap any client and are clients themselves, from the outside in::

    RetryingClient(BreakerClient(BudgetedClient(OpenAICompatibleClient(...))))

so that every try is a call the breaker has allowed and the budget has paid for.
"""
