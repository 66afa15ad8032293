"""Questions that several ask at once."""

from __future__ import annotations

import asyncio

import pytest

from lazytensor.io.store_portal import Shared


def test_what_is_asked_meanwhile_is_asked_once() -> None:
    async def work() -> None:
        shared: Shared[int] = Shared()
        asked = 0

        async def ask() -> int:
            nonlocal asked
            asked += 1
            await asyncio.sleep(0.01)
            return asked

        assert await asyncio.gather(*[shared.answer("a", ask) for _ in range(3)]) == [1, 1, 1]
        assert await shared.answer("a", ask) == 2
        assert await asyncio.gather(shared.answer("a", ask), shared.answer("b", ask)) == [4, 4]

    asyncio.run(work())


def test_a_failure_is_everybodys() -> None:
    async def work() -> None:
        shared: Shared[int] = Shared()

        async def ask() -> int:
            await asyncio.sleep(0.01)
            raise OSError("no")

        calls = [shared.answer("a", ask) for _ in range(3)]
        found = await asyncio.gather(*calls, return_exceptions=True)
        assert [str(error) for error in found] == ["no"] * 3

    asyncio.run(work())


def test_asking_ends_with_the_last_who_wants_to_know() -> None:
    async def work() -> None:
        shared: Shared[int] = Shared()
        ended = []
        go = asyncio.Event()

        async def ask() -> int:
            try:
                await go.wait()
            except asyncio.CancelledError:
                ended.append("ask")
                raise
            return 5

        first, second = [asyncio.ensure_future(shared.answer("a", ask)) for _ in range(2)]
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert not ended
        second.cancel()
        with pytest.raises(asyncio.CancelledError):
            await second
        await asyncio.sleep(0)
        assert ended == ["ask"]
        go.set()
        assert await shared.answer("a", ask) == 5

    asyncio.run(work())
