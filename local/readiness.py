"""Waiting for a server to answer."""

import asyncio
from collections.abc import Mapping

import aiohttp

from local.errors import LocalCloudError
from local.processes import Process

_PAUSE = 0.1


async def until_answers(
    url: str, *, seconds: float, headers: Mapping[str, str] | None = None, by: Process | None = None
) -> None:
    """Wait until a GET of ``url`` is answered with 2xx.

    Raises LocalCloudError after ``seconds``, or when the server's process, ``by``, ends.
    """
    last = "no answer"
    try:
        async with asyncio.timeout(seconds), aiohttp.ClientSession() as session:
            while True:
                if by is not None and by.returncode is not None:
                    raise by.failure(f"{by.name} ended with exit code {by.returncode} before it answered.")
                try:
                    async with session.get(url, headers=headers, allow_redirects=False) as response:
                        if response.ok:
                            return
                        last = f"{response.status} {(await response.text())[:300]}"
                except aiohttp.ClientError as error:
                    last = str(error)
                await asyncio.sleep(_PAUSE)
    except TimeoutError:
        message = f"{url} did not answer within {seconds:g} s; last: {last}."
        raise (by.failure(message) if by is not None else LocalCloudError(message)) from None
