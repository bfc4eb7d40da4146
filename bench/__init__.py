"""Measures the gateway beside nginx on this machine. Starts everything it needs and stops it again; knows no internals but the stored form of a client key."""
