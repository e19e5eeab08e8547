"""A day of Grace's tasks in Python: generate tips, score them, see how she takes the pick, reward it.

    python examples/tips/day.py [URL]        with BANDSTAND_API_KEY, if the service wants one

Grace takes up what is urgent, in the morning at once; in the evening she puts work off, and what does not matter she
waves away. What she does leaves her list.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import httpx

HOURS = (8, 10, 12, 14, 17, 21)
USER = "grace"
MONDAY = 0
EVENING = 18

Json = dict[str, Any]


def reaction(task: Json, hour: int) -> Json:
    """What Grace does with a tip about this task at this hour."""
    if task.get("list") == "work" and hour >= EVENING:
        return {"action": "snooze"}
    if task.get("is_overdue") or task["priority"] >= 3:  # noqa: PLR2004 (high and urgent)
        return {"action": "done", "dwell_ms": 45_000 if hour < HOURS[2] else 300_000}
    return {"action": "snooze" if task["priority"] > 1 else "dismiss"}


def ask(client: httpx.Client, path: str, body: Json) -> Json:
    """Post, and read the answer."""
    answer: Json = client.post(path, json=body).raise_for_status().json()
    return answer


def main(url: str) -> None:
    """Play the day."""
    key = os.environ.get("BANDSTAND_API_KEY")
    tasks: list[Json] = json.loads(Path(__file__).with_name("tasks.json").read_text("utf-8"))
    with httpx.Client(base_url=url, headers={"X-API-Key": key} if key else {}, timeout=90) as client:
        for hour in HOURS:
            context = {"hour_of_day": hour, "day_of_week": MONDAY}
            tips = ask(client, "/generate", {"user_id": USER, "n": 3, "context": {**context, "tasks": tasks}})
            if not tips["candidates"]:
                print(f"{hour:2}:00  no tip")
                continue
            scored = ask(client, "/score", {"user_id": USER, "context": context, "candidates": tips["candidates"]})
            tip = next(tip for tip in tips["candidates"] if tip["id"] == scored["tip_id"])
            task = next((task for task in tasks if task["id"] == tip["source_id"]), {"priority": 1})
            reacted = reaction(task, hour)
            rewarded = ask(client, "/reward", {"decision_id": scored["decision_id"], "reaction": reacted})
            print(f"{hour:2}:00  {tip['content']}")
            print(f"       by {tips['prompt_version']}; she says {reacted['action']}: {rewarded['reward']:+.1f}")
            if reacted["action"] == "done" and task in tasks:
                tasks.remove(task)
        for version in client.get("/prompts/stats").raise_for_status().json()["versions"]:
            if version["generations"]:
                interval = version["interval"] and [round(end, 2) for end in version["interval"]]
                print(
                    f"{version['version']}: {version['tips']} tips, {version['decisions']} picked, "
                    f"{version['rewards']} rewarded, mean {version['mean_reward']:+.2f}, interval {interval}"
                )


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["http://127.0.0.1:8000"]))
