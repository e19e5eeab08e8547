"""What a request may cost at most, and what its reply did."""

from hypothesis import given
from hypothesis import strategies as st

from bandstand.llm.chat import ChatReply, TokenUsage, build_messages
from tests.llm.given import SCHEMA, request_of


@given(st.text(max_size=300))
def test_the_bound_is_at_least_a_token_a_byte(text: str) -> None:
    text = text.encode("utf-8", "replace").decode()
    bound = request_of([{"role": "user", "content": text}], max_tokens=7).compute_token_bound()
    assert bound.prompt_tokens > len(text.encode())
    assert bound.completion_tokens == 7
    assert bound.total == bound.prompt_tokens + 7


def test_a_schema_is_read_too() -> None:
    with_schema, without = request_of(schema=SCHEMA).compute_token_bound(), request_of().compute_token_bound()
    assert with_schema.prompt_tokens > without.prompt_tokens


def test_what_the_provider_does_not_report_counts_in_full() -> None:
    bound = TokenUsage(100, 50)
    assert ChatReply(text="", model="m").compute_usage(bound) == bound
    assert ChatReply(text="", model="m", prompt_tokens=0).compute_usage(bound) == TokenUsage(0, 50)
    told = ChatReply(text="", model="m", prompt_tokens=7, completion_tokens=2)
    assert told.compute_usage(bound) == TokenUsage(7, 2)


def test_tokens_add_up() -> None:
    assert TokenUsage(1, 2) * 3 + TokenUsage(10, 20) == TokenUsage(13, 26)


def test_a_rendered_prompt_begins_a_conversation() -> None:
    assert build_messages("s", "u") == ({"role": "system", "content": "s"}, {"role": "user", "content": "u"})
