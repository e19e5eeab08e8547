"""What every request passes before a route: access, limits, bodies, metrics, logs."""
