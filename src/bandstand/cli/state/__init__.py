"""``bandstand state``: looking after a state directory."""
