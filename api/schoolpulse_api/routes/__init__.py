"""The HTTP routes: one file a subject, each with a ``router``. What they show comes from the caller's `View` alone."""
