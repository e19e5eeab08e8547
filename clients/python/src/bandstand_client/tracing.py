"""Carries a trace on into the service, where the product traces."""

import sys


def build_trace_headers() -> list[tuple[bytes, bytes]]:
    """The headers that carry a trace on, where the product uses opentelemetry."""
    if "opentelemetry" not in sys.modules:
        return []
    try:
        from opentelemetry import propagate
    except ImportError:
        return []
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return [(name.lower().encode(), value.encode()) for name, value in carrier.items()]
