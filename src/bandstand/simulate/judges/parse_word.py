"""Reading a judge's one word, however it is dressed: "Done.", "**done**", "He would dismiss it."."""

import re
from collections.abc import Sequence

from bandstand.llm.reply_json import iter_passages

_FORMS = {
    "done": "done",
    "snooze": "snooze",
    "snoozed": "snooze",
    "snoozes": "snooze",
    "dismiss": "dismiss",
    "dismissed": "dismiss",
    "dismisses": "dismiss",
}
_WORD = re.compile(r"[a-z]+(?:['’][a-z]+)?")
_DENIAL = re.compile(r"not|no|never|neither|nor|without|cannot|[a-z]+n['’]t")
_LONGEST = 4_000


def read_word(text: str) -> str | None:
    r"""Give the action that a text means, None if it does not mean exactly one.

    A text that is nothing but an action, whatever its case, punctuation and markup, is that action; so is one whose
    last line is. Any other text means an action if it names only that one and denies nothing. What was thought aloud
    before does not count.

    >>> read_word("**Done**."), read_word("They are busy.\nsnooze"), read_word("done or snooze"), read_word("not done")
    ('done', 'snooze', None, None)
    """
    return next((action for passage in iter_passages(text) if (action := _read_passage(passage))), None)


def _read_passage(text: str) -> str | None:
    lines = [words for line in text[-_LONGEST:].lower().splitlines() if (words := _WORD.findall(line))]
    if not lines:
        return None
    return _match_single(lines[-1]) or _find_only_action([word for words in lines for word in words])


def _match_single(words: Sequence[str]) -> str | None:
    return _FORMS.get(words[0]) if len(words) == 1 else None


def _find_only_action(words: Sequence[str]) -> str | None:
    named = {_FORMS[word] for word in words if word in _FORMS}
    denied = any(_DENIAL.fullmatch(word) for word in words)
    return named.pop() if len(named) == 1 and not denied else None
