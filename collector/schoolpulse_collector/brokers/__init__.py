"""The brokers a centre can have: one file each, by the contract in `broker.py`."""
