"""The keyless tier: rules and a small text classifier."""
