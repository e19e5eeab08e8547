"""What everybody shares who asks a chat model: the prompts, and what is needed of a client, whoever makes it."""
