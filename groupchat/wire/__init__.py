"""The grammars: bytes to commands, and back. Pure."""
