"""Blocking calls from the event loop."""

import asyncio
import threading

import pytest

from local.threads import in_thread


def test_it_returns_the_result_and_raises_the_error_of_the_call() -> None:
    assert asyncio.run(in_thread(int, "7")) == 7
    with pytest.raises(ValueError, match="seven"):
        asyncio.run(in_thread(int, "seven"))


def test_the_program_can_end_while_a_call_hangs() -> None:
    begun, hang = threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        hang.wait()

    async def cancel() -> None:
        calling = asyncio.create_task(in_thread(work))
        while not begun.is_set():
            await asyncio.sleep(0)
        calling.cancel()
        await asyncio.wait([calling])

    asyncio.run(cancel())  # where asyncio.to_thread waits for the thread
    assert threading.enumerate()[-1].daemon
    hang.set()
