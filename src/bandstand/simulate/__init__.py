"""The persona world: people described by a few numbers, offered tasks, whose true rewards are known exactly."""
