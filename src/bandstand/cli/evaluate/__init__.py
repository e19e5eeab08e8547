"""``bandstand evaluate``: what another policy would have earned on a log."""
