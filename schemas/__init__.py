"""The contract between Undertone's services: what is said, how it is written, who may say it."""
