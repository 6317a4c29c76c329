"""The Grafana boards of the operations centre, as code."""
