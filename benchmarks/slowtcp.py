"""TCP with a long round trip: a proxy that forwards data in both directions after a delay.

It loses nothing. Both connections end at the proxy, so the sender's TCP sees a short round trip and no slow start. This
is TCP at its best, where only the distance takes time.

    slowtcp.py PORT DELAY            forward to this local port after so many seconds; prints its own port
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

CHUNK = 1 << 18
WINDOW = 4 << 20
"""Bytes in flight in each direction, like the window of TCP on most systems."""

Item = tuple[float, bytes]


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """Forward one direction until its end, which is delayed, too."""
    now = asyncio.get_running_loop().time
    queue: asyncio.Queue[Item] = asyncio.Queue()
    room = asyncio.Semaphore(WINDOW // CHUNK)

    async def hand_on() -> None:
        while True:
            due, data = await queue.get()
            await asyncio.sleep(due - now())
            if not data:
                break
            writer.write(data)
            await writer.drain()
            room.release()
        with suppress(OSError):
            writer.write_eof()

    handing = asyncio.ensure_future(hand_on())
    data = b"-"
    while data:
        await room.acquire()
        data = await reader.read(CHUNK)
        queue.put_nowait((now() + delay, data))
    await handing


async def join(port: int, delay: float, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await asyncio.sleep(2 * delay)  # the time that TCP takes to connect
    far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port, limit=CHUNK)
    with suppress(OSError):
        await asyncio.gather(carry(reader, far_writer, delay), carry(far_reader, writer, delay))
    far_writer.close()
    writer.close()


async def main(port: int, delay: float) -> None:
    server = await asyncio.start_server(
        lambda reader, writer: join(port, delay, reader, writer), "127.0.0.1", 0, limit=CHUNK
    )
    print(f"slow TCP port {server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), float(sys.argv[2])))
