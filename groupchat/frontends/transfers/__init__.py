"""Files over any stream: one upload and one download."""
