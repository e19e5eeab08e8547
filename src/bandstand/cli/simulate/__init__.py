"""``bandstand simulate``: policies meet personas before they meet people."""
