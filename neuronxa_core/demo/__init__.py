"""The bundled corpus and model."""
