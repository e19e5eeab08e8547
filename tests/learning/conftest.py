"""The fixtures of the use cases, which learners in the background are seen through."""

from tests.service.conftest import make, service

__all__ = ["make", "service"]
