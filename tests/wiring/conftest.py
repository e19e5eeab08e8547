"""The provider that answers in place of the network."""

from tests.llm.conftest import provider

__all__ = ["provider"]
