"""The view of the Overview page."""
