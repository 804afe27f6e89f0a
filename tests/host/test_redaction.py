"""Tokens that are planted do not come out: not in errors, the log, the harness's log, the cache or a report."""

import json
import logging
import subprocess
import sys
import textwrap
import threading
from datetime import datetime
from pathlib import Path

import pytest
from huggingface_hub import constants

from neuronxa_core.charts import report as reports
from neuronxa_core.cli.main import main
from neuronxa_core.errors import CorpusError, CorruptEntry, HarnessError, NeuronXAError
from neuronxa_core.experiment import Experiment
from neuronxa_core.host import redaction
from neuronxa_core.host.redaction import HIDDEN, redacted
from neuronxa_core.jobs.job_queue import JobQueue
from neuronxa_core.measures import lm_eval
from neuronxa_core.states.planning import make_plan
from neuronxa_core.states.pools import ModelPool

# made up, in the form that the hub's have
LOOKS_LIKE_ONE = "hf_" + "AbCdEfGhIj" * 3 + "KlMn"
OF_NO_FORM = "a-private-mirror-token-of-no-known-form"
ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "file"])
def planted(request, monkeypatch, tmp_path):
    """A token without the hub's form, where the hub's library would find it."""
    if request.param == "file":
        file = tmp_path / "token"
        file.write_text(f"{OF_NO_FORM}\n")
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(file))
    else:
        monkeypatch.setenv(request.param, OF_NO_FORM)
    return OF_NO_FORM


@pytest.fixture
def logged():
    """What a handler that was there before `install` writes, with its traceback."""
    written = []

    class Kept(logging.Handler):
        def emit(self, record):
            written.append(self.format(record))

    handler, factory = Kept(), logging.getLogRecordFactory()
    hook, thread_hook = sys.excepthook, threading.excepthook
    logging.getLogger().addHandler(handler)
    redaction.install()
    yield written
    logging.getLogger().removeHandler(handler)
    logging.setLogRecordFactory(factory)
    sys.excepthook, threading.excepthook = hook, thread_hook


def test_this_accounts_token_is_hidden(planted):
    assert redacted(f"401 for {planted}: no") == f"401 for {HIDDEN}: no"


@pytest.mark.parametrize(
    ("text", "hidden"),
    [
        (f"token {LOOKS_LIKE_ONE}.", f"token {HIDDEN}"),
        ("https://me:secret@hub.example/x", f"https://{HIDDEN}@hub.example/x"),
        ("Authorization: Bearer abcdefgh12345", f"Authorization: Bearer {HIDDEN}"),
        ("https://cdn/x?token=s3cr3t&a=1", f"https://cdn/x?token={HIDDEN}&a=1"),
        ("https://s3/x?X-Amz-Signature=0123ab", f"https://s3/x?X-Amz-Signature={HIDDEN}"),
    ],
)
def test_what_looks_secret_is_hidden(text, hidden):
    assert redacted(text) == hidden


@pytest.mark.parametrize(
    "text", ["hf auth login", "hf_device_map", "mail me@host.example", "https://hf.co/Qwen/Qwen3-8B", "/a/hf_cache/x"]
)
def test_plain_words_stay(text):
    assert redacted(text) == text


def test_every_error_of_the_project_is_without(planted):
    for made in (NeuronXAError(f"x {planted}"), CorruptEntry("k", planted), CorpusError(LOOKS_LIKE_ONE)):
        assert planted not in str(made)
        assert LOOKS_LIKE_ONE not in str(made)
        assert HIDDEN in str(made)


def test_a_new_token_file_is_read_and_an_unchanged_one_is_not_read_again(monkeypatch, tmp_path):
    file = tmp_path / "token"
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(file))
    assert redacted(OF_NO_FORM) == OF_NO_FORM
    file.write_text(OF_NO_FORM)
    assert redacted(OF_NO_FORM) == HIDDEN
    monkeypatch.setattr(Path, "read_text", lambda *_: pytest.fail("read again"))
    assert redacted(OF_NO_FORM) == HIDDEN


def test_a_short_value_is_no_token(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "a")
    assert redacted("a cat") == "a cat"


def test_the_log_is_without(planted, logged):
    log = logging.getLogger("some.library")
    log.error("failed with %s", planted)
    log.error(f"failed at https://me:{planted}@hub")
    log.error("failed with %r", {"headers": planted})
    try:
        raise ValueError(f"Bearer {LOOKS_LIKE_ONE}")
    except ValueError:
        log.exception("broken")
    everything = "\n".join(logged)
    assert planted not in everything
    assert LOOKS_LIKE_ONE not in everything
    assert everything.count(HIDDEN) >= 4
    assert "Traceback" in everything
    assert "ValueError" in everything


def test_the_log_keeps_arguments_for_handlers_that_read_them(monkeypatch, logged):
    seen = []

    class Access(logging.Handler):
        def emit(self, record):
            seen.append(record.args)

    log = logging.getLogger("an.access.log")
    handler = Access()
    log.addHandler(handler)
    try:
        log.error('%s - "%s" %d', "127.0.0.1:1", f"GET /?a=1&token={LOOKS_LIKE_ONE}", 200)
        log.error("%s of %d", "one", 2)
    finally:
        log.removeHandler(handler)
    assert seen == [("127.0.0.1:1", f"GET /?a=1&token={HIDDEN}", 200), ("one", 2)]


def test_a_traceback_that_nobody_caught_is_without():
    code = """
        import threading
        from neuronxa_core.host import redaction
        redaction.install()
        def fail():
            raise ValueError("in a thread: %s" % TOKEN)
        thread = threading.Thread(target=fail); thread.start(); thread.join()
        raise ValueError("at the end: %s" % TOKEN)
    """
    made = subprocess.run(
        [sys.executable, "-c", f"TOKEN = 'hf_' + 'Ab3' * 10\n{textwrap.dedent(code)}"],
        cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert made.returncode == 1
    assert "Ab3Ab3" not in made.stderr
    assert made.stderr.count(HIDDEN) == 2
    assert made.stderr.count("Traceback") == 2


def test_neither_the_harness_log_nor_the_cache_keeps_a_token(planted, store, monkeypatch, tmp_path):
    fake = tmp_path / "fake.py"
    fake.write_text(f"import os, sys\nprint('using', {planted!r}, {LOOKS_LIKE_ONE!r}, file=sys.stderr)\nsys.exit(3)\n")
    monkeypatch.setattr(lm_eval, "available", lambda: "0")
    plan = make_plan(Experiment(sentences=4, languages=("deu_Latn",)), store)
    work = lm_eval.HarnessRun(plan, ("xnli_de",))
    monkeypatch.setattr(lm_eval.HarnessRun, "command", lambda _self, _output: [sys.executable, str(fake)])
    with pytest.raises(HarnessError) as failed:
        work.run(store, ModelPool())
    assert HIDDEN in str(failed.value)
    kept = [file.read_bytes() for file in store.folder.rglob("*") if file.is_file()]
    assert kept
    for content in (*kept, str(failed.value).encode()):
        assert planted.encode() not in content
        assert LOOKS_LIKE_ONE.encode() not in content


def test_a_job_that_breaks_off_is_without(planted, store):
    class Work:
        key, title, unit, units, plan = "k", "t", "things", 1, None

        def totals(self, _store):
            return {"a": 1}

        def run(self, *_arguments, **_options):
            raise RuntimeError(f"could not reach https://me:pw@hub with {planted}")

    queue = JobQueue(store, ModelPool())
    try:
        job = queue.submit(Work())
        assert queue.wait(job, 60)
    finally:
        queue.close()
    assert job.status == "failed"
    assert "RuntimeError" in job.error
    assert planted not in job.error
    assert "me:pw" not in job.error


def test_a_report_is_without(planted):
    made = reports.html_report(
        "t", {"source": f"x {planted}"}, [], [f"HF_TOKEN={planted} python"], datetime(2026, 1, 1)
    )
    assert planted not in made
    assert HIDDEN in made


def test_the_command_line_is_without(tmp_path, capsys):
    options = ["--corpus", "demo", "--pivot", "en", "--cache-dir", str(tmp_path)]
    assert main(["score", "--model", LOOKS_LIKE_ONE, *options]) == 2
    said = capsys.readouterr()
    assert LOOKS_LIKE_ONE not in said.err + said.out
    assert HIDDEN in said.err


def test_no_document_of_the_bundled_model_looks_like_a_token():
    """So that a report or a message never loses a part of what it is about."""
    for file in (ROOT / "neuronxa_core" / "demo" / "model").glob("*.json"):
        text = file.read_text("utf-8")
        json.loads(text)
        assert redacted(text) == text


def test_a_name_of_others_does_not_steer_a_terminal():
    """As of a checkpoint's model_type: errors and records of the log hold it written out."""
    text = "model type \x1b[2J\x07\x9b31m\ud800 of\ta\nfolder"
    assert str(NeuronXAError(text)) == redacted(text) == r"model type \x1b[2J\x07\x9b31m\ud800 of" + "\ta\nfolder"
