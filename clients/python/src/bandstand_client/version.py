"""The version of the client, which goes its own way beside the service's."""

__version__ = "0.1.0"
