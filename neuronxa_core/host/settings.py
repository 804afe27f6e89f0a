"""What the host of a shared app lets its visitors load and start: a TOML file, checked in full before anything runs.

    settings = of_host(local=True)           what NEURONXA_SETTINGS names, else neuronxa.toml beside the app, else none
    settings.check(experiment)               before any path of it is touched

Without a file, an app that only this machine can open allows whatever its account can read, as a program of one's own
does; an app that others can open allows the bundled model and corpus, and uploads. The command line asks no settings:
it is the account's own.

docs/settings.md has the file's keys.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuronxa_core.corpora import reading, uploads
from neuronxa_core.errors import CorpusError, ModelError, NotAllowed, ScoresError, SettingsError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.host import limits
from neuronxa_core.host.allow_list import ANY, Folders, _check_links, _found, _is, _matches, _offered, _within
from neuronxa_core.models import estimates, sources
from neuronxa_core.models.description import ModelSource
from neuronxa_core.store.cache import LIMIT_VARIABLE, default_folder, default_limit
from neuronxa_core.wording import some_of

if TYPE_CHECKING:
    from neuronxa_core.states.planning import Plan


VARIABLE = "NEURONXA_SETTINGS"
FILE_NAME = "neuronxa.toml"
BESIDE_THE_APP = Path(__file__).resolve().parents[2] / FILE_NAME
DEVICES = tuple(name for name in CHOICES["device"] if name != "auto")
DTYPES = tuple(name for name in CHOICES["dtype"] if name != "auto")


@dataclass(frozen=True)
class Settings:
    """What visitors may do. The values here are those of a file that says nothing.

    file: where it was read, empty without one. model_folders, corpus_folders, score_folders, task_folders: what lies
    below may be read, None for anything. hub_models, hub_corpora: ids or patterns such as Qwen/*. devices, dtypes: what
    may be chosen; `auto` always may, and takes the first device of these that there is. harness: whether
    lm-evaluation-harness may be run; task_folders: with definitions of tasks, whose Python is run.
    upload_mib: of one file; uploads_mib: of all that are kept; upload_files: at a time. cache_gib: None for the usual
    limit. waiting, waiting_a_person: jobs that wait at most. models_loaded: kept in memory. most_languages,
    most_sentences: of a run, None for any. managers: e-mail addresses.
    """

    file: str = ""
    model_folders: Folders = ()
    hub_models: tuple[str, ...] = ()
    devices: tuple[str, ...] = DEVICES
    dtypes: tuple[str, ...] = DTYPES
    models_loaded: int = 1
    corpus_folders: Folders = ()
    hub_corpora: tuple[str, ...] = ()
    score_folders: Folders = ()
    harness: bool = False
    task_folders: Folders = ()
    upload_mib: int = 200
    upload_files: int = 300
    uploads_mib: int = 2000
    cache_gib: float | None = None
    waiting: int = 20
    waiting_a_person: int = 5
    most_languages: int | None = None
    most_sentences: int | None = None
    managers: tuple[str, ...] = ()

    @classmethod
    def of_this_machine(cls) -> Settings:
        """Everything that this account can read, for its own user."""
        return cls(
            model_folders=None,
            hub_models=(ANY,),
            corpus_folders=None,
            hub_corpora=(ANY,),
            score_folders=None,
            harness=True,
            task_folders=None,
        )

    @classmethod
    def closed(cls) -> Settings:
        """The bundled model and corpus, and uploads."""
        return cls()

    @property
    def cache_bytes(self) -> int:
        """How large the cache may grow: NEURONXA_CACHE_GIB where it is set, else what the file says, else 50 GiB."""
        if os.environ.get(LIMIT_VARIABLE) or self.cache_gib is None:
            return default_limit()
        return int(self.cache_gib * 2**30)

    # what may be loaded -----------------------------------------------------------------------------------------

    def check(self, experiment: Experiment) -> tuple[ModelSource, str]:
        """An experiment's `model_source` and `corpus_source`.

        Raises NotAllowed for a model, a corpus, a device or a dtype that visitors may not choose. Nothing outside the
        allowed folders is touched, so that nobody learns what is there.
        """
        source, corpus = self.model_source(experiment.model), self.corpus_source(experiment.corpus)
        self._check_device(experiment.device)
        if experiment.dtype not in ("auto", *self.dtypes):
            raise NotAllowed(
                f"dtype {experiment.dtype} is not among those that the host of this app allows "
                f"({', '.join(('auto', *self.dtypes))})"
            )
        return source, corpus

    def model_source(self, text: str) -> ModelSource:
        """What a model's name stands for. Raises NotAllowed, and ModelError for what can be no model.

        Where folders are restricted, what has the form of an allowed hub id is one, whatever lies in the working
        folder.
        """
        text = text.strip()
        if text == "demo" or not text or (self.model_folders is None and ANY in self.hub_models):
            return sources.parse_source(text)
        hub = sources.hub_source(text)
        if hub is not None and _matches(hub.location, self.hub_models):
            return hub
        folder = None
        if self.model_folders is not None:
            folder = _within(text, self.model_folders)
        elif hub is None or Path(text).is_dir():
            return sources.parse_source(text)
        if folder is None:
            raise NotAllowed(
                f"the model {text:.200} is not among those that the host of this app allows; "
                f"{_offered(self.model_folders, self.hub_models)}"
            )
        if not _is(folder.is_dir):
            raise ModelError(f"there is no folder {text:.200}; choose one of those that are offered")
        _check_links(folder, self.model_folders, text, depth=1)
        return ModelSource(folder.name, str(folder), "folder")

    def corpus_source(self, text: str) -> str:
        """What `corpora.read` is to read for a corpus's name. Raises NotAllowed, and CorpusError for what is none."""
        text = text.strip()
        if text == "demo":
            return text
        if text.startswith("hub:"):
            dataset, _, _ = reading.parse_hub(text)
            if _matches(dataset, self.hub_corpora):
                return text
        elif self.corpus_folders is None:
            return text
        else:
            kept = self._upload(text)
            if kept is not None:
                return str(kept)
            path = _within(text, self.corpus_folders)
            if path is not None:
                if not _is(path.exists):
                    raise CorpusError(f"There is no file or folder {text:.200}; choose one of those that are offered")
                _check_links(path, self.corpus_folders, text, depth=1)
                return str(path)
        raise NotAllowed(
            f"the corpus {text:.200} is not among those that the host of this app allows; "
            f"{_offered(self.corpus_folders, self.hub_corpora)}, or upload it"
        )

    def score_source(self, text: str) -> Path:
        """The file or folder of task scores that a path names. Raises NotAllowed, and ScoresError for what is none."""
        text = text.strip()
        if self.score_folders is None:
            try:
                return Path(text).expanduser()
            except RuntimeError as error:
                raise ScoresError(f"{text:.200} cannot be read: {error}") from error
        path = _within(text, self.score_folders)
        if path is None:
            raise NotAllowed(
                f"the scores {text:.200} are not among those that the host of this app allows; "
                f"{_offered(self.score_folders, ())}, or upload them"
            )
        if not _is(path.exists):
            raise ScoresError(f"There is no file or folder {text:.200}")
        _check_links(path, self.score_folders, text)
        return path

    def task_folder(self, text: str) -> str | None:
        """The folder of definitions of tasks that a path names, None for none. Raises NotAllowed.

        Raises it for no folder, too, where lm-evaluation-harness may not be run at all.
        """
        if not self.harness:
            raise NotAllowed("the host of this app does not let visitors run lm-evaluation-harness ([scores] harness)")
        text = text.strip()
        if not text or self.task_folders is None:
            return text or None
        path = _within(text, self.task_folders)
        if path is None or not _is(path.is_dir):
            raise NotAllowed(
                f"the folder {text:.200} of task definitions is not among those that the host of this app allows; "
                f"{_offered(self.task_folders, ())}"
            )
        _check_links(path, self.task_folders, text)
        return str(path)

    def device(self, device: str, available: Callable[[str], str] = estimates.resolve_device) -> str:
        """cpu or cuda, for one of these or `auto`. Raises NotAllowed, and ModelError where there is no such GPU."""
        self._check_device(device)
        if device != "auto":
            return available(device)
        found = available("auto")
        return found if found in self.devices else available(self.devices[0])

    def _check_device(self, device: str) -> None:
        if device not in ("auto", *self.devices):
            raise NotAllowed(
                f"device {device} is not among those that the host of this app allows "
                f"({', '.join(('auto', *self.devices))})"
            )

    def check_size(self, plan: Plan) -> None:
        """Raise NotAllowed for a run of more languages or sentences than visitors may start."""
        for what, count, most in (
            ("languages", len(plan.all_languages), self.most_languages),
            ("sentences", len(plan.corpus.lines), self.most_sentences),
        ):
            if most is not None and count > most:
                raise NotAllowed(
                    f"this choice has {count:,} {what}, and the host of this app allows {most:,} a run; choose fewer "
                    "in Run"
                )

    def _upload(self, text: str) -> Path | None:
        """The upload that was kept, where a path names one exactly: its folder by its content, or the file in it.

        Raises CorpusError where it is kept no longer.
        """
        if len(text) > limits.PATH_LETTERS or "\0" in text or ".." in Path(text).parts:
            return None
        root = (default_folder() / uploads.FOLDER).absolute()
        path = Path(text).absolute()
        if not path.is_relative_to(root):
            return None
        name, *file = path.relative_to(root).parts or ("",)
        if not uploads.NAME.fullmatch(name) or len(file) > 1 or "".join(file).startswith("."):
            return None
        if not _is(path.exists) or path.is_symlink() or (root / name).is_symlink():
            raise CorpusError("this upload is no longer kept; upload it again in Run")
        return path

    # what is offered --------------------------------------------------------------------------------------------

    def models_found(self) -> list[str]:
        """Folders of models below the allowed ones, sorted; none where any folder may be read."""
        return _found(self.model_folders, lambda folder: [folder] if (folder / "config.json").is_file() else [])

    def corpora_found(self) -> list[str]:
        """Corpora below the allowed folders, sorted: folders of language or pair files, and tables."""
        return _found(self.corpus_folders, reading.within)


# reading --------------------------------------------------------------------------------------------------------


def of_host(local: bool) -> Settings:
    """The settings of an app; `local` where only the user of this machine can open it.

    Raises SettingsError where there is a file and it cannot be taken as it is.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return read(Path(named))
    if BESIDE_THE_APP.exists():
        return read(BESIDE_THE_APP)
    return Settings.of_this_machine() if local else Settings.closed()


def read(file: Path) -> Settings:
    """The settings of a file; relative folders in it are those beside it. Raises SettingsError."""
    try:
        file = file.expanduser()
        data = limits.first_bytes(file, limits.SETTINGS_BYTES)
    except (OSError, RuntimeError, ValueError) as error:
        raise SettingsError(
            f"the settings file {file} cannot be read ({error}); mend {VARIABLE} or the file"
        ) from error
    if len(data) > limits.SETTINGS_BYTES:
        raise SettingsError(
            f"the settings file {file} is larger than {limits.SETTINGS_BYTES >> 20} MiB; it is no such file"
        )
    try:
        content = tomllib.loads(data.decode("utf-8-sig"))
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise SettingsError(f"the settings file {file} is no TOML: {' '.join(str(error).split())[:200]}") from error
    return parse(content, file)


def parse(content: Mapping[str, Any], file: Path) -> Settings:
    """The settings that a TOML document says. file: for messages, and for relative folders. Raises SettingsError."""
    values: dict[str, Any] = {}
    for section, keys in content.items():
        if section not in _KEYS:
            raise SettingsError(f"{file}: there is no section [{section[:40]}]; those that there are: {some_of(_KEYS)}")
        if not isinstance(keys, dict):
            raise SettingsError(f"{file}: {section} is a section, so write [{section}] and its keys below")
        for key, value in keys.items():
            if key not in _KEYS[section]:
                raise SettingsError(
                    f"{file}: [{section}] has no key {key[:40]!r}; those that it has: {some_of(_KEYS[section])}"
                )
            name, parsed = _KEYS[section][key]
            try:
                values[name] = parsed(value, file)
            except ValueError as error:
                raise SettingsError(f"{file}: [{section}] {key} is {error}, not {value!r:.60}") from error
    settings = replace(Settings(), **values, file=str(file))
    if settings.task_folders != () and not settings.harness:
        raise SettingsError(f"{file}: [scores] task_folders are for lm-evaluation-harness; set harness = true, or none")
    return settings


Parser = Callable[[Any, Path], Any]


def _whole(least: int, most: int) -> Parser:
    def parsed(value: Any, _file: Path) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"a whole number from {least} to {most}")
        return value

    return parsed


def _gib(value: Any, _file: Path) -> float:
    if type(value) not in (int, float) or not 0 < value <= 1e6:
        raise ValueError("a number of GiB above 0, such as 200")
    return float(value)


def _truth(value: Any, _file: Path) -> bool:
    if type(value) is not bool:
        raise ValueError("true or false")
    return value


def _texts(value: Any, what: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(one, str) and one.strip() for one in value):
        raise ValueError(f"a list of {what}")
    return tuple(dict.fromkeys(one.strip() for one in value))


def _some_of_these(allowed: tuple[str, ...]) -> Parser:
    def parsed(value: Any, _file: Path) -> tuple[str, ...]:
        chosen = _texts(value, f"one or more of {', '.join(allowed)}")
        if not chosen or not set(chosen) <= set(allowed):
            raise ValueError(f"a list of one or more of {', '.join(allowed)}")
        return tuple(one for one in allowed if one in chosen)

    return parsed


def _folders(value: Any, file: Path) -> Folders:
    what = 'folders that are there, or ["*"] for any'
    texts = _texts(value, what)
    if texts == (ANY,):
        return None
    found = []
    for text in texts:
        try:
            folder = (file.parent / Path(text).expanduser()).resolve()
            is_folder = folder.is_dir()
        except (OSError, RuntimeError, ValueError):
            is_folder = False
        if not is_folder:
            raise ValueError(f"a list of {what}; {text[:100]} is none")
        found += [folder, Path(os.path.abspath(file.parent / Path(text).expanduser()))]  # noqa: PTH100
    return tuple(dict.fromkeys(found))


def _patterns(value: Any, _file: Path) -> tuple[str, ...]:
    what = "hub ids such as Qwen/Qwen3-8B, or patterns such as Qwen/*"
    texts = _texts(value, what)
    if not all(re.fullmatch(r"[\w*?][\w.*?-]*(/[\w*?][\w.*?-]*)?", text) for text in texts):
        raise ValueError(f"a list of {what}")
    return texts


def _addresses(value: Any, _file: Path) -> tuple[str, ...]:
    texts = _texts(value, "e-mail addresses")
    if not all(re.fullmatch(r"[^@\s]+@[^@\s]+", text) for text in texts):
        raise ValueError("a list of e-mail addresses")
    return tuple(text.casefold() for text in texts)


_KEYS: dict[str, dict[str, tuple[str, Parser]]] = {
    "models": {
        "folders": ("model_folders", _folders),
        "hub": ("hub_models", _patterns),
        "devices": ("devices", _some_of_these(DEVICES)),
        "dtypes": ("dtypes", _some_of_these(DTYPES)),
        "loaded": ("models_loaded", _whole(1, 100)),
    },
    "corpora": {
        "folders": ("corpus_folders", _folders),
        "hub": ("hub_corpora", _patterns),
    },
    "scores": {
        "folders": ("score_folders", _folders),
        "harness": ("harness", _truth),
        "task_folders": ("task_folders", _folders),
    },
    "uploads": {
        "file_mib": ("upload_mib", _whole(0, limits.CORPUS_FILE_BYTES // limits.MIB)),
        "files": ("upload_files", _whole(1, limits.CORPUS_FILES)),
        "kept_mib": ("uploads_mib", _whole(0, 10**9)),
    },
    "cache": {"gib": ("cache_gib", _gib)},
    "queue": {
        "waiting": ("waiting", _whole(1, 10_000)),
        "waiting_a_person": ("waiting_a_person", _whole(1, 10_000)),
    },
    "runs": {
        "languages": ("most_languages", _whole(2, 10**6)),
        "sentences": ("most_sentences", _whole(2, 10**9)),
    },
    "people": {"managers": ("managers", _addresses)},
}
"""Section and key of the file -> field of Settings, and what makes its value of the file's."""
