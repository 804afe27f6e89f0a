"""Work in the background: queue, journal, Ray."""
