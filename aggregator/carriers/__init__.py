"""This package knows how Flower's messages travel between a server of the learning and its members.

`port.Carrier` is Flower's public `Grid` with names for its nodes; the same unmodified apps run over all of them:
`mqtt` (the plant's broker), `local` (one process) and `local_fleet` (several), `flower_grid` with `superlink` (stock
SuperLink and SuperNodes) and `ray_simulation` (Flower's simulation).
"""
