"""This package knows what is merged, and whether: ordered pure steps over the members' updates, no I/O.

validate -> screen -> clip -> rule, put in order by `pipeline.merge`.
"""
