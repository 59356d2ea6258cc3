"""The wire formats: bytes to commands, and answers to bytes. Pure: no clock, no I/O, no Twisted."""
