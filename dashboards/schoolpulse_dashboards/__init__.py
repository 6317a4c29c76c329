"""The Grafana boards of the operations centre, as code: none yet."""

__version__ = "0.1.0"
