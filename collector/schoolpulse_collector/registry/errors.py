"""What the registry says when it can't do what was asked."""


class Refused(Exception):
    """What was asked of the registry can't be done; the message says why. Trying the same again can't help."""


class RegistryDown(Exception):
    """The registry can't be opened or does not answer; the message says which, why, and whether a retry can help."""
