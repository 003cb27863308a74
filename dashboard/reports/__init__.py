"""This package knows the reports on paper: what happened in a shift, and what is known of one machine, as PDF."""
