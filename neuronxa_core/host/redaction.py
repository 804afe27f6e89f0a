"""Tokens and passwords are taken out of whatever is shown, logged or kept: the hub's tokens above all.

`redacted` works on text, and every error of this project goes through it when it is made. `install` makes every record
of the log go through it, and every traceback of an error that nobody caught.
"""

from __future__ import annotations

import functools
import logging
import os
import re
import sys
import threading
import traceback
from pathlib import Path
from types import TracebackType

HIDDEN = "[hidden]"
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
# a shorter value is no token, and taking it out would blank ordinary words
SHORTEST = 8

_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_(?:oauth_|jwt_)?|api_org_)[A-Za-z0-9._-]{16,}"
    r"|(?<=://)[^/\s@]+(?=@)"
    r"|(?<=\bBearer\s)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<name>[?&](?:token|access_token|Signature|X-Amz-Signature|X-Amz-Security-Token)=)[^&\s\"'<>]+",
    re.IGNORECASE,
)
# a terminal would follow these, and half a character cannot be printed; names in files of others hold them
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff]")


def redacted(text: str) -> str:
    """The text without this account's hub tokens, whatever looks like one, and user:password@ of addresses.

    Control characters other than line breaks and tabs are written out, as \\x1b.
    """
    tokens = {os.environ.get(name, "").strip() for name in TOKEN_VARIABLES} | {_token_file()}
    for token in sorted((token for token in tokens if len(token) >= SHORTEST), key=len, reverse=True):
        text = text.replace(token, HIDDEN)
    text = _LOOKS_SECRET.sub(lambda found: f"{found['name'] or ''}{HIDDEN}", text)
    return _CONTROL.sub(lambda found: ascii(found[0])[1:-1], text)


def _token_file() -> str:
    """The token that `hf auth login` left. (huggingface_hub.get_token would also go to the network to renew it.)"""
    try:
        from huggingface_hub import constants

        file = Path(constants.HF_TOKEN_PATH)
        return _content(file, file.stat().st_mtime_ns)
    except (ImportError, AttributeError, OSError):  # there is none, or the library is being imported
        return ""


@functools.lru_cache(maxsize=1)
def _content(file: Path, _changed: int) -> str:
    """A file's text, read again only after it has changed: every error and every record of the log asks for it."""
    return file.read_text("utf-8", "replace").strip()


def _without_secrets(record: logging.LogRecord) -> logging.LogRecord:
    """The record with secrets taken out of its message, its arguments and its traceback."""
    try:
        message = record.getMessage()
    except Exception:  # the handler says what is wrong with it
        return record
    if redacted(message) != message:
        # some handlers read the arguments, so they are kept where it is enough to change them
        record.msg = redacted(record.msg) if isinstance(record.msg, str) else record.msg
        if isinstance(record.args, tuple):
            record.args = tuple(redacted(one) if isinstance(one, str) else one for one in record.args)
        message = record.getMessage()
        if redacted(message) != message:
            record.msg, record.args = redacted(message), ()
    if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
        trace = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if redacted(trace) != trace:
            record.exc_text, record.exc_info = redacted(trace), None  # a formatter shows the text
    return record


def install() -> None:
    """Take secrets out of all that this process logs, and out of the traceback of an error that nobody caught.

    A filter of a logger does not see what its children log, and one of a handler misses handlers that are added later,
    so records are changed where they are made. Calling it again changes nothing.
    """
    make = logging.getLogRecordFactory()
    if getattr(make, "redacts", False):
        return

    def record(*arguments: object, **options: object) -> logging.LogRecord:
        return _without_secrets(make(*arguments, **options))

    record.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)
    show, show_of_thread = sys.excepthook, threading.excepthook

    def uncaught(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if not _print_redacted(kind, error, trace):
            show(kind, error, trace)

    def uncaught_in_thread(error: threading.ExceptHookArgs) -> None:
        if error.exc_value is None or not _print_redacted(error.exc_type, error.exc_value, error.exc_traceback):
            show_of_thread(error)

    sys.excepthook, threading.excepthook = uncaught, uncaught_in_thread


def _print_redacted(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> bool:
    """Print a traceback that holds a secret without it, and return whether it holds one."""
    text = "".join(traceback.format_exception(kind, error, trace))
    holds = redacted(text) != text
    if holds and sys.stderr is not None:
        sys.stderr.write(redacted(text))
    return holds
