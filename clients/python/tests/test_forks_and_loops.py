"""Processes that fork, and programs that go through several event loops, keep their client."""

import asyncio
from pathlib import Path

import pytest
from bandstand_client import AsyncBandstand, Bandstand
from client_support.programs import run_program
from client_support.server import Server


def test_a_forked_process_has_connections_of_its_own(server: Server) -> None:
    printed = run_program(
        """
        import os, sys
        from bandstand_client import Bandstand
        client = Bandstand(sys.argv[1], deadline=30.0, score_deadline=30.0)
        client.score("parent", ["tea"])
        children = []
        for number in range(4):
            child = os.fork()
            if not child:
                ok = all(client.score(f"child-{number}", ["tea", "coffee"]).fallback is None for _ in range(30))
                ok = ok and client.stats(f"child-{number}").pulls == 30
                os._exit(0 if ok else 1)
            children.append(child)
        ok = all(client.stats("parent").pulls == 1 for _ in range(60))
        print(ok, [os.waitpid(child, 0)[1] for child in children], client.counts.retries)
        """,
        server.url,
    )
    assert printed == "True [0, 0, 0, 0] 0"


def test_a_fork_in_the_middle_of_other_threads_calls_leaves_no_lock_behind(server: Server) -> None:
    printed = run_program(
        """
        import os, sys, threading, warnings
        from bandstand_client import Bandstand
        warnings.simplefilter("ignore", DeprecationWarning)
        client = Bandstand(sys.argv[1], deadline=30.0, score_deadline=30.0)
        stop = threading.Event()
        def work():
            while not stop.is_set():
                client.score("busy", ["tea", "coffee"])
        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads: thread.start()
        codes = []
        for _ in range(20):
            child = os.fork()
            if not child:
                os._exit(0 if client.score("calm", ["tea"]).fallback is None else 1)
            codes.append(os.waitpid(child, 0)[1])
        stop.set()
        for thread in threads: thread.join()
        print(set(codes), client.counts.fallbacks)
        """,
        server.url,
    )
    assert printed == "{0} 0"


@pytest.mark.parametrize("in_a_file", ["", "outbox.db"])
def test_an_outbox_is_emptied_by_the_process_that_filled_it(server: Server, tmp_path: Path, in_a_file: str) -> None:
    printed = run_program(
        """
        import os, sys, warnings
        from bandstand_client import Bandstand
        warnings.simplefilter("ignore", DeprecationWarning)
        url, path = sys.argv[1:]
        client = Bandstand(url, deadline=30.0, score_deadline=30.0)
        name = f"fork-{path[-9:] or 'memory'}"
        decisions = [client.score(name, ["tea", "coffee"]) for _ in range(40)]
        outbox = client.outbox(path or None, flush_deadline=60.0)
        for decision in decisions[:20]:
            outbox.reward(decision, 0.5)
        child = os.fork()
        if not child:
            for decision in decisions[20:]:
                outbox.reward(decision, 0.25)
            outbox.close()
            os._exit(0 if outbox.counts.accepted == 20 else 1)
        code = os.waitpid(child, 0)[1]
        outbox.close()
        stats = client.stats(name)
        print(code, stats.reward_count, stats.cumulative_reward)
        """,
        server.url,
        str(tmp_path / in_a_file) if in_a_file else "",
    )
    assert printed == "0 40 15.0"


def test_one_client_works_in_one_event_loop_after_the_other(server: Server) -> None:
    client = AsyncBandstand(server.url, deadline=30.0, score_deadline=30.0)

    async def ask() -> int:
        try:
            assert (await client.score("loops", ["tea", "coffee"])).fallback is None
            return (await client.stats("loops")).pulls
        finally:
            await client.aclose()

    assert [asyncio.run(ask()) for _ in range(3)] == [1, 2, 3]


def test_a_loop_that_ended_without_closing_the_client_harms_no_later_one(server: Server) -> None:
    printed = run_program(
        """
        import asyncio, sys
        from bandstand_client import AsyncBandstand
        client = AsyncBandstand(sys.argv[1], deadline=30.0, score_deadline=30.0)
        async def ask():
            return (await client.score("left-open", ["tea", "coffee"])).fallback
        print([asyncio.run(ask()) for _ in range(5)])
        """,
        server.url,
    )
    assert printed == "[None, None, None, None, None]"


def test_two_loops_at_once_have_connections_of_their_own(server: Server) -> None:
    client = AsyncBandstand(server.url, deadline=30.0, score_deadline=30.0)

    async def ask_often(user: str) -> int:
        for _ in range(20):
            assert (await client.score(user, ["tea", "coffee"])).fallback is None
        pulls = (await client.stats(user)).pulls
        await client.aclose()
        return pulls

    async def ask_both() -> list[int]:
        other = asyncio.create_task(asyncio.to_thread(lambda: asyncio.run(ask_often("loop-a"))))
        return [await ask_often("loop-b"), await other]

    assert asyncio.run(ask_both()) == [20, 20]


def test_many_calls_at_once_in_one_loop(server: Server) -> None:
    async def ask() -> int:
        async with AsyncBandstand(server.url, deadline=60.0, score_deadline=60.0) as client:
            made = await asyncio.gather(*(client.score(f"many-{n % 10}", ["tea", "coffee"]) for n in range(60)))
            await asyncio.gather(*(decision.reward(0.5) for decision in made))
            assert client.counts.fallbacks == 0
        with Bandstand(server.url, deadline=60.0) as operator:
            return sum(operator.stats(f"many-{number}").reward_count for number in range(10))

    assert asyncio.run(ask()) == 60
