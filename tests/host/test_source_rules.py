"""What the source of the product must not do, read from its syntax trees."""

import ast
from pathlib import Path

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
