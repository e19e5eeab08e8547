"""The LLM tier: prompts, replies, the cache."""
