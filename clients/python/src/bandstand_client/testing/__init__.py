"""A Bandstand in memory, for the unit tests of a product: the same client in front of it, and the same laws."""

from bandstand_client.testing.fake import FailureKind, FakeBandstand

__all__ = ["FailureKind", "FakeBandstand"]
