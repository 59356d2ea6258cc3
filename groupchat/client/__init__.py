"""The clients. They know the wire and nothing of the server: from groupchat they import this package and the version.

`cli` reads the command line, `plain` joins standard input and output to a conversation, `udp` is that conversation:
one request outstanding, time-outs, repeats. `messages`, `membership`, `lines` and `text` are pure: no socket, no
clock, no terminal.
"""
