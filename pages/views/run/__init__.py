"""Views of the choices of an experiment, and of the run that computes its states."""
