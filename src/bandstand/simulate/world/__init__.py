"""The persona world: personas, tasks, reactions, conversations."""
