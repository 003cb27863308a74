"""This file knows work on alarms: shelving, work orders, routes of notifications, tables of assets and limits."""

from aggregator.desk_answers import Handler
from schemas.requests import Action

HANDLERS: dict[Action, Handler] = {}
