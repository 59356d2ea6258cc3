# Chat over the five messages. Run: micropython five_micropython.py HOST PORT NAME. Then type; the end of input leaves.
# On a board, connect to its network first, and replace sys.argv and sys.stdin by what the board has to say. If it has
# little memory, start the daemon with --max-reply 1024 and set MOST to that.
import select
import socket
import sys

MOST = 65535

host, port, name = sys.argv[1:]
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.connect(socket.getaddrinfo(host, int(port), socket.AF_INET, socket.SOCK_DGRAM)[0][-1])
replied = select.poll()
replied.register(server, select.POLLIN)
typed = select.poll()
typed.register(sys.stdin, select.POLLIN)


def ask(request):
    """Print the reply and return it. A join or a poll may be sent again without harm; anything else is sent once."""
    for _ in range(5 if request[0] in "15" else 1):
        server.send(request.encode())
        if replied.poll(2000):
            reply = server.recv(MOST).decode()
            if reply:
                print(reply)
            return reply
    raise OSError("no reply")


if ask("1 " + name) == "Illegal message":
    raise ValueError("this name cannot be used")
line = "\n"
while line:  # readline() returns "" at the end of input
    line = sys.stdin.readline() if typed.poll(1000) else "\n"
    ask("2 " + line.strip() if line.strip() else "5")
ask("4")
