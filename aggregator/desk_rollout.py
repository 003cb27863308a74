"""This file knows how a person stops, resumes, promotes or takes back a release."""

from aggregator.desk_answers import Handler
from schemas.requests import Action

HANDLERS: dict[Action, Handler] = {}
