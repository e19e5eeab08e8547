"""HTTP and nothing else: wire schemas, access, limits, problems, routes."""
