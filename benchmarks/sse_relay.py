"""The obvious relay of Server-Sent Events on asyncio, as a yardstick: one queue and one task for each stream.

It accepts every name, stores nothing, and speaks only as much HTTP as webload.c needs.
"""

from __future__ import annotations

import asyncio
import json
import sys

HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n\r\nid: 0\n\n"


class Relay:
    def __init__(self) -> None:
        self.queues: set[asyncio.Queue[bytes]] = set()
        self.number = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.partition(b"Content-Length: ")[2].partition(b"\r\n")[0] or 0)
                body = await reader.readexactly(length)
                if head.startswith(b"GET /events"):
                    await self.stream(writer)
                if head.startswith(b"POST /messages"):
                    self.tell(body.decode())
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    def tell(self, text: str) -> None:
        self.number += 1
        value = json.dumps({"number": self.number, "text": text}, separators=(",", ":"))
        event = f"id: {self.number}\ndata: {value}\n\n".encode()
        for queue in self.queues:
            queue.put_nowait(event)

    async def stream(self, writer: asyncio.StreamWriter) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        self.queues.add(queue)
        try:
            writer.write(HEAD)
            while True:
                writer.write(await queue.get())
                await writer.drain()
        finally:
            self.queues.discard(queue)


async def main(port: int) -> None:
    server = await asyncio.start_server(Relay().serve, "127.0.0.1", port, backlog=1024)
    print(f"relay at http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1])))
