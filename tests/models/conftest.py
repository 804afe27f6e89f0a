"""A model that a test may spoil."""

import shutil

import pytest


@pytest.fixture
def spoilt(tiny, tmp_path):
    """The folder of a tiny LLaMA of the test's own, named spoilt."""
    return shutil.copytree(tiny("llama"), tmp_path / "spoilt")
