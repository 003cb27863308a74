"""This package knows the physics of vibration: units, spectra, envelopes, fault orders, zones and features.

Pure calculation on arrays: no clocks, no randomness, no network, no files but the tables packaged here. It imports
nothing of the project. Take what you need from the module that is named for it.
"""
