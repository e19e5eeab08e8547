"""Fixtures of the tests from end to end: those of the wire, and a server process."""

from tests.api.conftest import _logs_as_served, service, shared, shared_v1, v1

__all__ = ["_logs_as_served", "service", "shared", "shared_v1", "v1"]
