"""Server-sent events: bytes -> the data of each event, one at a time and never more than a limit in memory.

Lines end as the standard of server-sent events says, at LF, CR LF or CR alone. Splitting text at what Unicode calls a
line end, as httpx does, would cut JSON in two at the characters U+2028 and U+0085, which models write.
"""

import re
from collections.abc import AsyncIterator

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An event that is longer is an error; log-probabilities of a whole vocabulary stay far below."""
_LINE_END = re.compile(rb"\r\n|\n|\r")


class EventTooLong(ValueError):
    """An event does not fit into the memory that is granted to it."""


async def event_data(pieces: AsyncIterator[bytes], *, limit: int = MAX_EVENT_BYTES) -> AsyncIterator[bytes]:
    """The ``data`` of each event, lines joined by LF. Comments, other fields and an unfinished event are left out.

    Args:
        pieces: the body, cut anywhere.
        limit: most bytes of an event.

    Raises:
        EventTooLong: an event is longer.
    """
    data: list[bytes] = []
    async for line in _lines(pieces, limit):
        if line.startswith(b"data:"):
            data.append(line[5:].removeprefix(b" "))
            if sum(map(len, data)) > limit:
                raise EventTooLong(f"an event is longer than {limit:,} bytes")
        elif not line and data:
            yield b"\n".join(data)
            data = []


async def _lines(pieces: AsyncIterator[bytes], limit: int) -> AsyncIterator[bytes]:
    rest = bytearray()
    async for piece in pieces:
        seen = max(len(rest) - 1, 0)  # the last byte may be a CR that waits for its LF
        rest += piece
        place = 0
        for match in _LINE_END.finditer(rest, seen):
            if match[0] == b"\r" and match.end() == len(rest):
                break  # the LF of this line end may be in the next piece
            yield bytes(rest[place : match.start()])
            place = match.end()
        del rest[:place]
        if len(rest) > limit:
            raise EventTooLong(f"a line is longer than {limit:,} bytes")
    if rest.endswith(b"\r"):
        yield bytes(rest[:-1])
