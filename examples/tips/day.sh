#!/bin/sh
# A day of Ada's tasks by curl: generate tips, score them, see how she takes the pick, reward it.
#
#     examples/tips/day.sh [URL]        with BANDSTAND_API_KEY, if the service wants one
set -eu
URL=${1:-http://127.0.0.1:8000}
TASKS=$(cat "$(dirname "$0")/tasks.json")

post() { # post PATH BODY
    curl -sS --fail-with-body -H 'Content-Type: application/json' \
        ${BANDSTAND_API_KEY:+-H "X-API-Key: $BANDSTAND_API_KEY"} "$URL$1" -d "$2"
}
pick() { # pick EXPRESSION: a part of the JSON on stdin, which the expression calls `it`
    python3 -c "import json, sys; it = json.load(sys.stdin); print(json.dumps($1, ensure_ascii=False))"
}

while read -r HOUR REACTION; do
    CONTEXT="\"hour_of_day\": $HOUR, \"day_of_week\": 0"

    TIPS=$(post /generate "{\"user_id\": \"ada\", \"n\": 3, \"context\": {$CONTEXT, \"tasks\": $TASKS}}")
    CANDIDATES=$(echo "$TIPS" | pick 'it["candidates"]')

    SCORED=$(post /score "{\"user_id\": \"ada\", \"context\": {$CONTEXT}, \"candidates\": $CANDIDATES}")
    DECISION=$(echo "$SCORED" | pick 'it["decision_id"]')
    TIP=$(echo "$SCORED" | pick 'it["tip_id"]')

    REWARDED=$(post /reward "{\"decision_id\": $DECISION, \"reaction\": $REACTION}")

    echo "$HOUR:00  $(echo "$CANDIDATES" | pick "next(tip['content'] for tip in it if tip['id'] == $TIP)")"
    echo "       by $(echo "$TIPS" | pick 'it["prompt_version"]'), $REACTION: $(echo "$REWARDED" | pick 'it["reward"]')"
done <<DAY
8 {"action": "done", "dwell_ms": 45000}
12 {"action": "dismiss"}
17 {"action": "snooze"}
21 {"action": "done", "dwell_ms": 300000}
DAY
