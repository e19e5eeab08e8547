"""A user's tasks become tips to score: by a language model under a named prompt, or honestly from the tasks alone.

``prompts`` loads the prompt files, ``selection`` picks the version, ``tasks`` makes untrusted tasks fit to be quoted,
``parse`` reads what the model wrote, ``generator`` holds the conversation, ``template`` does without a model.
"""
