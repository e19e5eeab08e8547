"""Fixtures of the tests from end to end: those of the wire, and a server process."""

from tests.api.conftest import _logs_as_served, service, shared, v1

__all__ = ["_logs_as_served", "service", "shared", "v1"]
