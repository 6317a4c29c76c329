"""The HTTP routes: one file a subject, each with a ``router`` made for one centre."""
