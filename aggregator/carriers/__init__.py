"""This package knows how Flower's messages travel between a server of the learning and its members.

`port.Carrier` is Flower's public `Grid` with names for its nodes; the same `ServerApp` runs over `mqtt` (the
plant's broker) and `local` (one process).
"""
