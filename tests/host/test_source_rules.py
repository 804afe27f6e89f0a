"""What the source of the product must not do, read from its syntax trees, and the versions that it is run with."""

import ast
import re
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FORBIDDEN_MODULES = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal", "yaml"}
FORBIDDEN_CALLS = {("torch", "load"), ("pd", "read_pickle"), ("np", "load"), ("np", "fromfile"), ("builtins", "eval")}


def test_nothing_is_ever_unpickled_or_evaluated():
    files = [*(ROOT / "neuronxa_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py"), ROOT / "streamlit_app.py"]
    assert len(files) > 30
    for file in files:
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            where = f"{file.name}:{getattr(node, 'lineno', 0)}"
            if isinstance(node, ast.Import):
                assert FORBIDDEN_MODULES.isdisjoint(name.name.split(".")[0] for name in node.names), where
            elif isinstance(node, ast.ImportFrom):
                assert (node.module or "").split(".")[0] not in FORBIDDEN_MODULES, where
            elif isinstance(node, ast.Call):
                called = node.func
                if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name):
                    assert (called.value.id, called.attr) not in FORBIDDEN_CALLS, where
                elif isinstance(called, ast.Name):
                    assert called.id not in ("eval", "exec"), where
                for keyword in node.keywords:
                    value = getattr(keyword.value, "value", None)
                    assert not (
                        keyword.arg in ("allow_pickle", "trust_remote_code", "weights_only") and value is True
                    ), where
                    assert not (keyword.arg == "unsafe_allow_html" and value is True), where


def test_the_lock_pins_all_that_is_required_by_hashes_and_names_no_index():
    lock = (ROOT / "requirements.lock").read_text("utf-8")
    pins = re.findall(r"^([\w.-]+)==([^\s;]+)(?= .*\\\n    --hash=sha256:)", lock, re.MULTILINE)
    assert len(pins) == len(re.findall("^[^# ]", lock, re.MULTILINE))
    assert not re.search(r"://|-index", lock)
    for line in (ROOT / "requirements.txt").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            asked = Requirement(line)
            versions = [version for name, version in pins if name == canonicalize_name(asked.name)]
            assert versions and all(map(asked.specifier.contains, versions)), line
