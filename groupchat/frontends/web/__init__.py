"""The page, and the same group over plain HTTP. See docs/protocol.md, "HTTP".

Two rules. What is wrong with a request is known from its head, and answered before its body is read. And whoever is
slow, or takes nothing, holds little, and for a bounded time: every wait has an end.
"""
