"""NeuronXA: cross-lingual alignment of a language model, read off the states of its feed-forward neurons.

Everything here runs without a browser; the app in `pages/` and the command line in `__main__.py` are two fronts of it.
"""

__version__ = "0.1.0"
