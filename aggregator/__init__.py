"""Site and enterprise: what gateways say becomes history and cases, what they learn becomes releases."""
