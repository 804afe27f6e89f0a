"""The machine that the app runs on: settings, limits, redaction, the cache's report."""
