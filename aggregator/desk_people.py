"""This file knows who may do what, and changes it: people, roles, passwords."""

from aggregator.desk_answers import Handler
from schemas.requests import Action

HANDLERS: dict[Action, Handler] = {}
