"""This file knows nothing: it is the script that is run for every page, and hands over to the package."""

from dashboard.pages.frame import run

run()
