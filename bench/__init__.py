"""Measures the gateway beside nginx on this machine. Starts everything it needs and stops it again.

Of the gateway it knows what a user knows, and one thing more: the stored form of a client key.
"""
