"""The agent of SchoolPulse: reads a machine's health and sends it, losing nothing."""

__version__ = "0.1.0"
