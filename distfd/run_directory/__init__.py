"""The directory of one run: its files, result.json, and how far it is."""
