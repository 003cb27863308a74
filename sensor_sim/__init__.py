"""Machines that turn, wear and fail, and the imperfect sensors that listen to them; recordings played the same way."""
