"""The routes, one module a group of endpoints."""
