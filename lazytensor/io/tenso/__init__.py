"""tenso packets: reading and writing them, at once or lazily (``lt.io.tenso``)."""
