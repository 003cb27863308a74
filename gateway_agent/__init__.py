"""The gateway agent: takes captures in, judges them on the spot, keeps them, tells the site, and learns."""
