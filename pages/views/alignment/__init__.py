"""The views of the Alignment page."""
