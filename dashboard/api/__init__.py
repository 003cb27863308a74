"""This package is the interface for programs: the same reading and the same actions as on the pages, over HTTP."""
