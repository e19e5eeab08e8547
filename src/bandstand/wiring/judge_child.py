"""The judge's process: the judges and the LLM that settings name, behind the line protocol."""

from bandstand.config.settings import Settings
from bandstand.judge.deployed import JudgeRegistry
from bandstand.judge.turn import Turn
from bandstand.judge_worker.child import answer_questions
from bandstand.judge_worker.protocol import AnswerResult, Question, TurnQuestion
from bandstand.wiring.judges import build_judges
from bandstand.wiring.llm_clients import LlmConnection, open_connection


async def run_judge_process(settings: Settings) -> None:
    """Judge what comes on standard input until it ends; what is under way then is cancelled.

    Raises:
        ConfigurationError: a setting is wrong.
    """
    async with open_connection(settings) as connection:
        judges = build_judges(settings, None if connection is None else connection.build_client())

        async def find_answer(question: Question) -> AnswerResult:
            return await _find_answer(question, judges, connection)

        await answer_questions(find_answer)


async def _find_answer(question: Question, judges: JudgeRegistry, connection: LlmConnection | None) -> AnswerResult:
    if isinstance(question, TurnQuestion):
        judge = judges.get_judge(question.taxonomy)
        return await judge.judge(Turn(*question.texts), allow_llm=question.allow_llm)
    if connection is None:
        raise RuntimeError("no LLM is configured")
    return await connection.build_client(question.tries).complete(question.request)
