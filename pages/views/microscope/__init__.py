"""Views of one neuron."""
