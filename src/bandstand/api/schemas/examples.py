"""Requests that OpenAPI shows; a test sends all of them, score before reward."""

from typing import Any

_CANDIDATES = [
    {
        "id": "tip-1",
        "content": "Send the tax return before noon.",
        "source": "task",
        "source_id": "task-17",
        "features": {"is_overdue": True, "task_age_days": 12, "priority": 4},
    },
    {
        "id": "tip-2",
        "content": "Water the plants.",
        "source": "task",
        "source_id": "task-4",
        "features": {"is_overdue": False, "task_age_days": 1, "priority": 1},
    },
]

SCORE_EXAMPLES: dict[str, Any] = {
    "two tips": {
        "summary": "Two tips on a Monday morning",
        "value": {
            "user_id": "ada",
            "candidates": _CANDIDATES,
            "context": {"hour_of_day": 9, "day_of_week": 0},
        },
    },
    "own id": {
        "summary": "With an id of the caller's own",
        "value": {"user_id": "ada", "candidates": _CANDIDATES, "decision_id": "order-1001"},
    },
    "ranking": {
        "summary": "With the whole ranking",
        "value": {"user_id": "ada", "candidates": _CANDIDATES, "decision_id": "order-1002", "ranking": True},
    },
}

REWARD_EXAMPLES: dict[str, Any] = {
    "by decision": {
        "summary": "A reward for a decision",
        "value": {"decision_id": "order-1001", "reward": 1.0},
    },
    "reaction": {
        "summary": "A reaction, turned into a reward",
        "value": {"decision_id": "order-1002", "reaction": {"action": "done", "dwell_ms": 45000}},
    },
    "turn": {
        "summary": "What the user said next, for the judge to read; it waits for the verdict",
        "value": {
            "user_id": "ada",
            "tip_id": "tip-1",
            "features": {"hour_of_day": 9},
            "turn": {"query_t": "Capital of Australia?", "answer_t": "It is Sydney.", "query_t1": "no, that is wrong"},
            "wait": True,
        },
    },
    "legacy": {
        "summary": "Without a decision id",
        "value": {
            "user_id": "ada",
            "tip_id": "tip-1",
            "reward": 1.0,
            "features": {"hour_of_day": 9, "is_overdue": True, "task_age_days": 12, "priority": 4},
            "day_of_week": 0,
        },
    },
}

_TASKS = [
    {"id": "t-17", "title": "Send the tax return", "priority": 4, "is_overdue": True, "task_age_days": 12},
    {"id": "t-4", "title": "Water the plants", "priority": 1, "task_age_days": 1},
]

GENERATE_EXAMPLES: dict[str, Any] = {
    "two tasks": {
        "summary": "Tips from two tasks on a Monday morning",
        "value": {
            "user_id": "ada",
            "context": {"tasks": _TASKS, "hour_of_day": 9, "day_of_week": 0, "extra": {"mood": "rushed"}},
            "n": 2,
        },
    },
    "version": {
        "summary": "With a prompt of one's own choice",
        "value": {"user_id": "ada", "context": {"tasks": _TASKS}, "prompt_version": "v2-mentor"},
    },
}

RECOMMEND_EXAMPLES: dict[str, Any] = {
    "two tasks": {
        "summary": "The best of two tips on a Monday morning",
        "value": {"user_id": "ada", "context": {"tasks": _TASKS, "hour_of_day": 9, "day_of_week": 0}, "n": 2},
    },
}

RESET_EXAMPLES: dict[str, Any] = {
    "any id": {"summary": "A user of any id", "value": {"user_id": "ada/lovelace"}},
}
