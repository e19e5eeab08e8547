"""A reward by azure-ai-personalizer 1.0.0b1 to a service that is busy; prints what it met, as JSON.

usage: python retries.py KEY ENDPOINT...
"""

import json
import sys
from typing import Any

from azure.ai.personalizer import PersonalizerClient
from azure.core.credentials import AzureKeyCredential


def use(endpoint: str, key: str) -> dict[str, Any]:
    """Rank and reward an event."""
    client = PersonalizerClient(endpoint, AzureKeyCredential(key))
    client.rank({"actions": [{"id": "a", "features": [{"x": 1}]}], "eventId": "retried"})
    return {"reward": client.reward("retried", {"value": 1.0}, retry_backoff_factor=0.01)}


if __name__ == "__main__":
    print(json.dumps([use(endpoint, sys.argv[1]) for endpoint in sys.argv[2:]]))  # noqa: T201 (what the test reads)
