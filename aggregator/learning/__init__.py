"""This package knows the rounds of learning of a site or an enterprise, and what of them survives a power cut."""
