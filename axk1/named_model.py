"""The model that a person named on the command line, for the rooms that talk to one."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from axk1.core.chat_client import ChatClient
from axk1.core.chat_model import ChatModel
from axk1.serve.upstream.failures import KEY_VARIABLE
from axk1.serve.upstream.server import checked_url


@contextlib.asynccontextmanager
async def open_chat_model(address: str) -> AsyncIterator[ChatModel]:
    """Opens it; an ``OpenChatModel``.

    Args:
        address: a checkpoint folder, whose engine then runs in this process, or the address of a server of OpenAI's
            API, whose key is taken from the environment variable AXK1_UPSTREAM_API_KEY.
    """
    if "://" in address:
        async with ChatClient(checked_url(address), api_key=os.environ.get(KEY_VARIABLE)) as client:
            yield client
        return
    # Who talks to a server does not wait for the engine's libraries.
    from axk1.app import ServeConfig, open_engine
    from axk1.serve.in_process import ServiceChat

    config = ServeConfig(path=Path(address))
    service = open_engine(config, config.path, False)
    await service.start()
    try:
        yield ServiceChat(service)
    finally:
        await service.stop()
