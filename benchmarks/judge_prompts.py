"""What prompt v2 is worth beside v1, whatever the model: `about` in, a target out.

    python benchmarks/judge_prompts.py

The turns of the shipped balanced set that say what was chosen go through the judge's own LLM tier and gate, as
`bandstand judge evaluate` and `bandstand judge symmetry` measure them. The model is scripted: it reads the label right
nine times in ten, else it says another at random, and it says the true target where it is asked for one. So all that
differs is what the prompt lets it say. Prints shares with their errors by bootstrap, and the tokens that a turn is
charged for.
"""

import asyncio
import json
import random
import re
from collections.abc import Mapping
from dataclasses import replace

from bandstand.judge.llm.llm_judge import PARAMETERS, LlmTier
from bandstand.judge.taxonomy import shipped_taxonomy
from bandstand.judge.training.dataset import LabelledTurn, parse_rows
from bandstand.judge.training.evaluation import build_report, judge_rows
from bandstand.judge.training.symmetry import measure_symmetry, read_balanced_set
from bandstand.llm.chat import ChatReply, ChatRequest
from bandstand.prompts.library import PromptLibrary, prompts_directory

RIGHT = 0.9
VERSIONS = ("v1", "v2", "v2-few-shot")

_FOLLOWUP = shipped_taxonomy("followup-v1")
_SEED = 15
_NUMBER = re.compile(r"turn ([0-9]+)")


class ScriptedReader:
    """A model that knows what every turn means, and says of it what its prompt asks for.

    Args:
        rows: the turns, by the number that stands in their messages.
    """

    model = "scripted"
    host = "nowhere"

    def __init__(self, rows: Mapping[int, LabelledTurn]) -> None:
        self._rows = rows
        self._random = random.Random(_SEED)

    async def complete(self, request: ChatRequest) -> ChatReply:
        """Answer as the schema asks."""
        found = _NUMBER.search(request.messages[-1]["content"])
        if found is None:
            raise LookupError("a turn without its number")
        row = self._rows[int(found[1])]
        label = row.label if self._random.random() < RIGHT else self._random.choice(_FOLLOWUP.label_names)
        answer = {"rationale": "as scripted", "label": label, "confidence": 0.9}
        if "target" in json.dumps(request.schema):
            answer["target"] = row.target
        bound = request.compute_token_bound()
        return ChatReply(text=json.dumps(answer), model=self.model, prompt_tokens=bound.prompt_tokens // 4)

    async def aclose(self) -> None:
        """Nothing to close."""


async def measure(version: str) -> list[str]:
    """Return a row of the table."""
    chosen = [row for row in parse_rows(read_balanced_set(), _FOLLOWUP, strict=True).rows if row.turn.about]
    # The number lets the model know the turn; it stands where no tier looks for a stand.
    rows = [
        replace(row, turn=replace(row.turn, query_t=f"turn {at}: {row.turn.query_t}")) for at, row in enumerate(chosen)
    ]
    library = PromptLibrary.load(prompts_directory(), offered={"judge": PARAMETERS})
    prompt = library.get("judge", version)
    if prompt is None:
        raise LookupError(f"there is no prompt judge/{version}")
    tier = LlmTier(ScriptedReader(dict(enumerate(rows))), _FOLLOWUP, prompt)
    outcomes = await judge_rows(tier, rows)
    found, report = measure_symmetry(outcomes, _FOLLOWUP), build_report(outcomes, _FOLLOWUP)
    shares = [found[name] for name in ("right", "wrong_way", "false_teaching")]
    tokens = sum(outcome.judged.usage.prompt_tokens for outcome in outcomes) / len(outcomes)
    return [
        version,
        *(f"{share['value']:.3f} ± {share['error']:.3f}" for share in shares),
        f"{report['polarity']['macro_f1']:.3f}",
        f"{tokens:,.0f}",
    ]


async def main() -> None:
    """Print the table."""
    print("| prompt | right sign taught | wrong way | taught without feedback | macro-F1, polarity | tokens a turn |")
    print("|---|---|---|---|---|---|")
    for version in VERSIONS:
        print(f"| {' | '.join(await measure(version))} |")


if __name__ == "__main__":
    asyncio.run(main())
