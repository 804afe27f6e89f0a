"""Tokens and passwords are taken out of whatever is shown, logged or kept: the hub's tokens above all.

`redacted` works on text, and every error of this project goes through it when it is made. `install` makes every record
of the log go through it, and every traceback of an error that nobody caught.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

HIDDEN = "[hidden]"
TOKEN_VARIABLES = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HUGGINGFACE_HUB_TOKEN")
# what is shorter is no token, and taking it out would blank ordinary words
SHORTEST = 8

_LOOKS_SECRET = re.compile(
    r"(?<![A-Za-z0-9])(?:hf_(?:oauth_|jwt_)?|api_org_)[A-Za-z0-9._-]{16,}"
    r"|(?<=://)[^/\s@]+(?=@)"
    r"|(?<=\bBearer\s)[A-Za-z0-9._~+/=-]{8,}"
    r"|(?P<name>[?&](?:token|access_token|Signature|X-Amz-Signature|X-Amz-Security-Token)=)[^&\s\"'<>]+",
    re.IGNORECASE,
)


def redacted(text: str) -> str:
    """The text without this account's hub tokens, whatever looks like one, and user:password@ of addresses."""
    for token in _known_tokens():
        text = text.replace(token, HIDDEN)
    return _LOOKS_SECRET.sub(lambda found: f"{found['name'] or ''}{HIDDEN}", text)


def _known_tokens() -> list[str]:
    """The tokens that this process would send to the hub, the longest first."""
    found = {os.environ.get(name, "").strip() for name in TOKEN_VARIABLES} | {_token_file()}
    return sorted((token for token in found if len(token) >= SHORTEST), key=len, reverse=True)


def _token_file() -> str:
    """The token that `hf auth login` left. (huggingface_hub.get_token would also go to the network to renew it.)"""
    try:
        from huggingface_hub import constants

        return Path(constants.HF_TOKEN_PATH).read_text("utf-8", "replace").strip()
    except (ImportError, AttributeError, OSError):  # there is none, or the library is just being read
        return ""


class Redaction(logging.Filter):
    """Takes secrets out of a record: its message, its arguments and its traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record where it holds a secret; always True."""
        try:
            message = record.getMessage()
        except Exception:  # the handler says what is wrong with it
            return True
        if redacted(message) != message:
            # some handlers read the arguments, so these stay where it is enough to change them
            record.msg = redacted(record.msg) if isinstance(record.msg, str) else record.msg
            if isinstance(record.args, tuple):
                record.args = tuple(redacted(one) if isinstance(one, str) else one for one in record.args)
            message = record.getMessage()
            if redacted(message) != message:
                record.msg, record.args = redacted(message), ()
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            said = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if redacted(said) != said:
                record.exc_text = redacted(said)  # what a formatter shows in place of the traceback
                record.exc_info = None
        return True


def install() -> None:
    """Take secrets out of all that this process logs, and out of the traceback of an error that nobody caught.

    A filter of a logger does not see what its children log, and one of a handler misses handlers that are added later,
    so the filter is asked when a record is made. Calling it again changes nothing.
    """
    if getattr(logging.getLogRecordFactory(), "redacts", False):
        return
    make, redaction = logging.getLogRecordFactory(), Redaction()

    def record(*arguments: object, **options: object) -> logging.LogRecord:
        made = make(*arguments, **options)
        redaction.filter(made)
        return made

    record.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(record)
    sys.excepthook = _without_secrets(sys.excepthook)
    before = threading.excepthook

    def in_thread(error: threading.ExceptHookArgs) -> None:
        def show(*_: object) -> None:
            before(error)

        if error.exc_value is not None:
            _without_secrets(show)(error.exc_type, error.exc_value, error.exc_traceback)

    threading.excepthook = in_thread


Hook = Callable[[type[BaseException], BaseException, TracebackType | None], object]


def _without_secrets(hook: Hook) -> Hook:
    """The hook, unless the traceback holds a secret: then it is printed without."""

    def show(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        said = "".join(traceback.format_exception(kind, error, trace))
        if redacted(said) == said:
            hook(kind, error, trace)
        elif sys.stderr is not None:
            sys.stderr.write(redacted(said))

    return show
