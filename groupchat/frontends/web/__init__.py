"""The page, and the same group over plain HTTP. See docs/protocol.md, "HTTP".

Two rules. Errors in the head of a request are answered before its body is read. A client that is slow, or does not take
its answers, costs little memory, and every wait for it has an end.
"""
