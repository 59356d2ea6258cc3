"""TCP over a long way: a proxy that hands on what it reads, each way after a delay.

It loses nothing, and the two connections that it joins end here, on either side: so the sender's TCP sees a short way,
never a slow start over a long one. That is TCP at its best, where only the way itself takes time.

    slowtcp.py PORT DELAY            to this port of this machine, so many seconds later; prints its own port
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import suppress

CHUNK = 1 << 18
MOST = 4 << 20
"""Bytes that may be under way, each way: what TCP's window is on most systems."""

Item = tuple[float, bytes]


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    """One way, until its end; that comes as late as everything else."""
    now = asyncio.get_running_loop().time
    queue: asyncio.Queue[Item] = asyncio.Queue()
    room = asyncio.Semaphore(MOST // CHUNK)

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
    await asyncio.sleep(2 * delay)  # what TCP itself takes to connect
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
