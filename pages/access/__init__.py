"""Sign-in, the gate before the app, and who may do what."""
