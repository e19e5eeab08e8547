"""A judge's process of the tests' own: what a turn says next decides what becomes of it.

``die`` ends the process, ``fail`` is a fault, ``hang`` is never answered, ``slow`` takes a while; any other word is the
label. What it was asked is appended to the file that its argument names.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path


def answer(line: str, asked: Path) -> None:
    request = json.loads(line)
    word = request["turn"][2].split()[0]
    with asked.open("a") as log:
        log.write(json.dumps({"word": word, "allow_llm": request["allow_llm"], "pid": os.getpid()}) + "\n")
    if word == "die":
        os._exit(9)
    if word == "hang":
        return
    if word == "slow":
        time.sleep(0.3)
        word = "pos_praise"
    reply: dict[str, object] = {"id": request["id"]}
    if word == "fail":
        reply["failed"] = "KeyError"
    elif word == "timeout":
        unscored = {"version": 1, "scored": False, "taxonomy": request["taxonomy"], "reason": "timeout"}
        reply["judged"] = {**unscored, "tier": "llm", "model": "odd", "raw": "words", "usage": usage()}
    else:
        verdict = {"version": 1, "scored": True, "taxonomy": request["taxonomy"], "label": word, "confidence": 0.9}
        quoting = {"rationale": "it said so", "raw": "words"}
        reply["judged"] = {**verdict, **quoting, "tier": "llm", "model": "odd", "usage": usage()}
    sys.stdout.write(json.dumps(reply) + "\n")
    sys.stdout.flush()


def usage() -> dict[str, object]:
    return {"llm_calls": 1, "prompt_tokens": 100, "completion_tokens": 10, "cost": 0.001}


def main() -> None:
    sys.stdout.write('{"ready": true}\n')
    sys.stdout.flush()
    for line in sys.stdin:
        threading.Thread(target=answer, args=(line, Path(sys.argv[1])), daemon=True).start()


if __name__ == "__main__":
    main()
