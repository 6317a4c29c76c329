"""The collector of SchoolPulse: makes every report durable, acknowledges it, and stores it."""

__version__ = "0.1.0"
