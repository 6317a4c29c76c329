"""What answers somebody unknown: as little as possible, a file a subject, each with a ``router`` for one centre."""
