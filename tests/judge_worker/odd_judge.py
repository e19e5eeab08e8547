"""A judge's process of the tests' own: what a turn says next decides what becomes of it.

``die`` ends the process, ``fail`` is a fault, ``hang`` is never answered, ``slow`` takes a while; any other word is the
label. A call of the model is answered in the same way, with its last message's first word; ``refuse`` is the provider's
fault, ``hang`` is answered once it is let go, and ``mute`` never. What it was asked is appended to the file that its
argument names.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

words: dict[int, str] = {}


def answer(line: str, asked: Path) -> None:
    request = json.loads(line)
    call = request.get("call")
    word = "let go" if "let_go" in request else (call["messages"][-1]["content"] if call else request["turn"][2])
    word = word.split()[0]
    words[request.get("id", 0)] = word
    with asked.open("a") as log:
        log.write(json.dumps({"word": word, "allow_llm": request.get("allow_llm"), "pid": os.getpid()}) + "\n")
    if "let_go" in request:
        if words[request["let_go"]] != "mute":
            write_at_once({"id": request["let_go"], "fault": {"code": "let-go"}, "spent": [30, 3]})
        return
    if word == "die":
        os._exit(9)
    if word in {"hang", "mute"}:
        return
    if word == "slow":
        time.sleep(0.3)
        word = "pos_praise"
    reply: dict[str, object] = {"id": request["id"]}
    if word == "fail":
        reply["failed"] = "KeyError"
    elif call and word == "refuse":
        told = {"code": "llm-status", "detail": "no", "reached": True, "retryable": False, "retry_after_s": None}
        reply |= {"fault": {**told, "sent": False}, "spent": [0, 0]}
    elif call:
        said = {"text": word, "model": "odd", "prompt_tokens": 100, "completion_tokens": 10}
        reply |= {"reply": {**said, "finish_reason": "stop", "refusal": None}, "spent": [100, 10]}
    elif word == "timeout":
        unscored = {"version": 1, "scored": False, "taxonomy": request["taxonomy"], "reason": "timeout"}
        reply["judged"] = {**unscored, "tier": "llm", "model": "odd", "raw": "words", "usage": usage()}
    else:
        verdict = {"version": 1, "scored": True, "taxonomy": request["taxonomy"], "label": word, "confidence": 0.9}
        quoting = {"rationale": "it said so", "raw": "words"}
        reply["judged"] = {**verdict, **quoting, "tier": "llm", "model": "odd", "usage": usage()}
    reply.setdefault("spent", [100, 10])
    write_at_once(reply)


def write_at_once(reply: dict[str, object]) -> None:
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
