"""A day of Grace's tasks in Python: generate tips, score them, see how she takes the pick, reward it.

    python examples/tips/day.py [URL]        with BANDSTAND_API_KEY, if the service wants one

Grace takes up what is urgent, in the morning at once; in the evening she puts work off, and what does not matter she
waves away. What she does leaves her list.
"""

import json
import os
import sys
from pathlib import Path
from typing import Any, Literal

from bandstand_client import Bandstand

HOURS = (8, 10, 12, 14, 17, 21)
USER = "grace"
MONDAY = 0
EVENING = 18

Json = dict[str, Any]
Action = Literal["done", "snooze", "dismiss"]


def react(task: Json, hour: int) -> tuple[Action, float | None]:
    """What Grace does with a tip about this task at this hour, and for how many seconds she stays with it."""
    if task.get("list") == "work" and hour >= EVENING:
        return "snooze", None
    if task.get("is_overdue") or task["priority"] >= 3:  # noqa: PLR2004 (high and urgent)
        return "done", 45 if hour < HOURS[2] else 300
    return "snooze" if task["priority"] > 1 else "dismiss", None


def main(url: str) -> None:
    """Play the day."""
    tasks: list[Json] = json.loads(Path(__file__).with_name("tasks.json").read_text("utf-8"))
    # The whole day is played at once, and Grace has time: a product would leave the deadline at a quarter of a second.
    with Bandstand(url, os.environ.get("BANDSTAND_API_KEY"), score_deadline=30) as client:
        for hour in HOURS:
            moment = {"hour_of_day": hour, "day_of_week": MONDAY}
            tips = client.generate(USER, tasks, context=moment, n=3)
            if not tips.candidates:
                print(f"{hour:2}:00  no tip")
                continue
            decision = client.score(USER, tips.candidates, context=moment)
            task = next((task for task in tasks if task["id"] == decision.pick.source_id), {"priority": 1})
            action, dwell = react(task, hour)
            rewarded = decision.react(action, dwell=dwell)
            print(f"{hour:2}:00  {decision.pick.content}")
            print(f"       by {tips.prompt_version}; she says {action}: {rewarded.reward:+.1f}")
            if action == "done" and task in tasks:
                tasks.remove(task)
        for version in client.prompt_stats().versions:
            if version.generations:
                interval = version.interval and [round(end, 2) for end in version.interval]
                print(
                    f"{version.version}: {version.tips} tips, {version.decisions} picked, "
                    f"{version.rewards} rewarded, mean {version.mean_reward:+.2f}, interval {interval}"
                )


if __name__ == "__main__":
    main(*(sys.argv[1:] or ["http://127.0.0.1:8000"]))
