"""This package knows how sensors that speak another language are understood, by settings alone."""
