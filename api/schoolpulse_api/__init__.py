"""SchoolPulse's API, console and all-in-one program."""

__version__ = "0.1.0"
