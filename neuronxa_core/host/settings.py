"""What the host of a shared app lets its visitors load and start: a TOML file, checked in full before anything runs.

    settings = of_host(local=True)           the file that NEURONXA_SETTINGS names, else neuronxa.toml beside the app
    settings.check(experiment)               before any path of it is touched

Without a file, an app that only this machine can open allows whatever its account can read; an app that others can
open allows the bundled model and corpus, and uploads. The command line asks no settings: it is the account's own.

docs/settings.md has the file's keys; the classes here have the same names.
"""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    ValidationInfo,
)
from pydantic import model_validator as validates_table

from neuronxa_core.corpora import reading, uploads
from neuronxa_core.errors import CorpusError, ModelError, NeuronXAError, NotAllowed, ScoresError, SettingsError
from neuronxa_core.experiment import CHOICES, Experiment
from neuronxa_core.host import allow_list, limits
from neuronxa_core.host.allow_list import ANY, Folders
from neuronxa_core.models import estimates, sources
from neuronxa_core.models.description import ModelSource
from neuronxa_core.states import planning
from neuronxa_core.states.planning import Plan
from neuronxa_core.store.cache import LIMIT_VARIABLE, Store, default_folder, default_limit
from neuronxa_core.wording import some_of

VARIABLE = "NEURONXA_SETTINGS"
BESIDE_THE_APP = Path(__file__).resolve().parents[2] / "neuronxa.toml"
DEVICES = tuple(name for name in CHOICES["device"] if name != "auto")
DTYPES = tuple(name for name in CHOICES["dtype"] if name != "auto")


# the file -------------------------------------------------------------------------------------------------------------


def _existing(value: Any, info: ValidationInfo) -> Folders:
    """The folders as they are written and with links followed; relative ones are beside the file."""
    if not isinstance(value, list) or not all(isinstance(text, str) and text.strip() for text in value):
        raise ValueError
    if [text.strip() for text in value] == [ANY]:
        return None
    found: list[Path] = []
    for text in value:
        try:
            path = info.context["file"].parent / Path(text.strip()).expanduser()
            if not path.is_dir():
                raise OSError
            found += [path.resolve(), Path(os.path.abspath(path))]  # noqa: PTH100
        except (OSError, RuntimeError, ValueError):
            raise ValueError(f"{text:.100} is none") from None
    return tuple(dict.fromkeys(found))


def _every(pattern: str) -> AfterValidator:
    def check(texts: tuple[str, ...]) -> tuple[str, ...]:
        if wrong := [text for text in texts if not re.fullmatch(pattern, text)]:
            raise ValueError(f"{wrong[0]:.100} is none")
        return texts

    return AfterValidator(check)


def _some_of(allowed: tuple[str, ...]) -> AfterValidator:
    def check(texts: tuple[str, ...]) -> tuple[str, ...]:
        if not texts or not set(texts) <= set(allowed):
            raise ValueError
        return tuple(one for one in allowed if one in texts)

    return AfterValidator(check)


Text = Annotated[str, StringConstraints(strict=True, strip_whitespace=True, min_length=1)]
Texts = Annotated[tuple[Text, ...], AfterValidator(lambda texts: tuple(dict.fromkeys(texts)))]
FolderList = Annotated[Folders, BeforeValidator(_existing)]
HubIds = Annotated[Texts, _every(r"[\w*?][\w.*?-]*(/[\w*?][\w.*?-]*)?")]

# each key's `description` says what its value must be, for the message where it is not


def _folders() -> Any:
    return Field((), description='a list of folders that are there, or ["*"] for any')


def _hub_ids() -> Any:
    return Field((), description="a list of hub ids such as Qwen/Qwen3-8B, or patterns such as Qwen/*")


def _choices(allowed: tuple[str, ...]) -> Any:
    return Field(allowed, description=f"a list of one or more of {', '.join(allowed)}")


def _whole(default: int | None, least: int, most: int) -> Any:
    says = f"a whole number from {least} to {most}"
    return Field(default, strict=True, ge=least, le=most, description=says)


class _Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Models(_Table):
    """[models]. loaded: models that stay in memory."""

    folders: FolderList = _folders()
    hub: HubIds = _hub_ids()
    devices: Annotated[Texts, _some_of(DEVICES)] = _choices(DEVICES)
    dtypes: Annotated[Texts, _some_of(DTYPES)] = _choices(DTYPES)
    loaded: int = _whole(1, 1, 100)


class Corpora(_Table):
    """[corpora]."""

    folders: FolderList = _folders()
    hub: HubIds = _hub_ids()


class Scores(_Table):
    """[scores]. harness: whether lm-evaluation-harness may be run. task_folders: with definitions of its tasks."""

    folders: FolderList = _folders()
    harness: bool = Field(False, strict=True, description="true or false")
    task_folders: FolderList = _folders()

    @validates_table(mode="after")
    def _task_folders_need_the_harness(self) -> Self:
        if self.task_folders != () and not self.harness:
            raise ValueError("task_folders are for lm-evaluation-harness; set harness = true, or remove them")
        return self


class Uploads(_Table):
    """[uploads]. file_mib: of a file, 0 for no uploads. files: of one upload. kept_mib: of all that are kept on disk.

    memory_mib: of all that are in memory, while their pages are open. memory_mib_a_person: of these, one person's.
    """

    file_mib: int = _whole(200, 0, limits.CORPUS_FILE_BYTES // limits.MIB)
    files: int = _whole(300, 1, limits.CORPUS_FILES)
    kept_mib: int = _whole(2000, 0, 10**9)
    memory_mib: int = _whole(2000, 0, 10**9)
    memory_mib_a_person: int = _whole(500, 0, 10**9)


def _gib() -> Any:
    says = "a number of GiB above 0, such as 200"
    return Field(None, strict=True, gt=0, le=1e6, allow_inf_nan=False, description=says)


class Cache(_Table):
    """[cache]. gib: None for the usual limit. kept_days: since its last use, before which a result is not evicted."""

    gib: float | None = _gib()
    kept_days: int = _whole(30, 0, 36_500)

    @property
    def limit_bytes(self) -> int:
        """How large the cache may grow: NEURONXA_CACHE_GIB where it is set, else `gib`, else 50 GiB."""
        if os.environ.get(LIMIT_VARIABLE) or self.gib is None:
            return default_limit()
        return int(self.gib * 2**30)


class Queue(_Table):
    """[queue]. waiting: runs that wait, at most. waiting_a_person: of these, runs of one person."""

    waiting: int = _whole(20, 1, 10_000)
    waiting_a_person: int = _whole(5, 1, 10_000)


class Runs(_Table):
    """[runs]. languages, sentences: of a run, at most; None for any number. gib: None for a tenth of the cache."""

    languages: int | None = _whole(None, 2, 10**6)
    sentences: int | None = _whole(10_000, 2, 10**9)
    gib: float | None = _gib()


class People(_Table):
    """[people]. managers: e-mail addresses in lower case."""

    managers: Annotated[
        Texts, _every(r"[^@\s]+@[^@\s]+"), AfterValidator(lambda texts: tuple(text.casefold() for text in texts))
    ] = Field((), description="a list of e-mail addresses")


class Settings(_Table):
    """What visitors may do. `Settings()` is that of an empty file: the bundled model and corpus, and uploads."""

    models: Models = Models()
    corpora: Corpora = Corpora()
    scores: Scores = Scores()
    uploads: Uploads = Uploads()
    cache: Cache = Cache()
    queue: Queue = Queue()
    runs: Runs = Runs()
    people: People = People()

    @classmethod
    def of_this_machine(cls) -> Settings:
        """Everything that this account can read, for its own user."""
        any_folder_or_id = {"folders": [ANY], "hub": [ANY]}
        scores = {"folders": [ANY], "harness": True, "task_folders": [ANY]}
        runs, cache = {"sentences": None, "gib": 1e6}, {"kept_days": 0}
        whole = {
            "models": any_folder_or_id,
            "corpora": any_folder_or_id,
            "scores": scores,
            "runs": runs,
            "cache": cache,
        }
        return cls.model_validate(whole)

    # what may be loaded -----------------------------------------------------------------------------------------------

    def check(self, experiment: Experiment) -> tuple[ModelSource, str]:
        """An experiment's `model_source` and `corpus_source`.

        Raises NotAllowed for a model, a corpus, a device or a dtype that visitors may not choose. Nothing outside the
        allowed folders is touched, so that nobody learns what is there.
        """
        source, corpus = self.model_source(experiment.model), self.corpus_source(experiment.corpus)
        _check_choice("device", experiment.device, self.models.devices)
        _check_choice("dtype", experiment.dtype, self.models.dtypes)
        return source, corpus

    def model_source(self, text: str) -> ModelSource:
        """What a model's name stands for. Raises NotAllowed, and ModelError for what can be no model.

        Where folders are restricted, what has the form of an allowed hub id is one, whatever lies in the working
        folder.
        """
        text, folders = text.strip(), self.models.folders
        hub = sources.hub_source(text)
        if text in ("", "demo") or (folders is None and ANY in self.models.hub):
            return sources.parse_source(text)
        if hub is not None and allow_list.matches(hub.location, self.models.hub):
            return hub
        if folders is None and (hub is None or Path(text).is_dir()):
            return sources.parse_source(text)
        choose = allow_list.offered(folders, self.models.hub)
        return sources.parse_source(str(_allowed(text, folders, "model", choose, ModelError, depth=1)))

    def corpus_source(self, text: str) -> str:
        """What `corpora.read` is to read for a corpus's name. Raises NotAllowed, and CorpusError for what is none."""
        text, folders = text.strip(), self.corpora.folders
        is_hub = text.startswith("hub:")
        if (
            text == "demo"
            or (is_hub and allow_list.matches(reading.parse_hub(text)[0], self.corpora.hub))
            or (not is_hub and folders is None)
        ):
            return text
        if (kept := _kept_upload(text)) is not None:
            return str(kept)
        choose = f"{allow_list.offered(folders, self.corpora.hub)}, or upload it"
        return str(_allowed(text, None if is_hub else folders, "corpus", choose, CorpusError, depth=1))

    def score_source(self, text: str) -> Path:
        """The file or folder of task scores that a path names. Raises NotAllowed, and ScoresError for what is none."""
        text, folders = text.strip(), self.scores.folders
        if folders is None:
            try:
                return Path(text).expanduser()
            except RuntimeError as error:
                raise ScoresError(f"{text:.200} cannot be read: {error}") from error
        choose = f"{allow_list.offered(folders)}, or upload them"
        return _allowed(text, folders, "file of task scores", choose, ScoresError)

    def task_folder(self, text: str) -> str | None:
        """The folder of task definitions that a path names, None for none. Raises NotAllowed.

        Raises it for no folder, too, where lm-evaluation-harness may not be run at all.
        """
        if not self.scores.harness:
            raise NotAllowed("the host of this app does not let visitors run lm-evaluation-harness ([scores] harness)")
        text, folders = text.strip(), self.scores.task_folders
        if not text or folders is None:
            return text or None
        return str(_allowed(text, folders, "folder of task definitions", allow_list.offered(folders), NotAllowed))

    def device(self, device: str, available: Callable[[str], str] = estimates.resolve_device) -> str:
        """cpu or cuda, for one of these or `auto`. Raises NotAllowed, and ModelError where there is no such GPU."""
        _check_choice("device", device, self.models.devices)
        found = available(device)
        return found if found in self.models.devices else available(self.models.devices[0])

    def check_size(self, plan: Plan, store: Store) -> None:
        """Raise NotAllowed for a run of more languages, sentences or missing bytes than visitors may start."""
        gib, runs = 1 << 30, self.runs
        new = planning.missing_bytes(plan, store) / gib
        for has, count, most in (
            (f"has {len(plan.all_languages):,} languages", len(plan.all_languages), runs.languages),
            (f"has {len(plan.corpus.lines):,} sentences", len(plan.corpus.lines), runs.sentences),
            (f"would keep {new:.3g} GiB", new, runs.gib or self.cache.limit_bytes / gib / 10),
        ):
            if most is not None and count > most:
                raise NotAllowed(
                    f"this choice {has}, and the host of this app allows {most:,.6g} per run; choose fewer in Run"
                )

    # what is offered --------------------------------------------------------------------------------------------------

    def models_found(self) -> list[str]:
        """Folders of models below the allowed ones, sorted; none where any folder may be read."""
        return allow_list.below(
            self.models.folders, lambda folder: [folder] if (folder / "config.json").is_file() else []
        )

    def corpora_found(self) -> list[str]:
        """Corpora below the allowed folders, sorted: folders of language or pair files, and tables."""
        return allow_list.below(self.corpora.folders, reading.within)


def _check_choice(what: str, chosen: str, allowed: tuple[str, ...]) -> None:
    if chosen not in ("auto", *allowed):
        raise NotAllowed(
            f"{what} {chosen} is not among those that the host of this app allows ({', '.join(('auto', *allowed))})"
        )


def _allowed(
    text: str, folders: Folders, what: str, choose: str, missing: type[NeuronXAError], depth: int | None = None
) -> Path:
    """The real path of what a text names below the folders. choose: what to do instead. depth: see check_links.

    Raises NotAllowed, and `missing` where an allowed path does not exist.
    """
    path = allow_list.within(text, folders or ())
    if path is None:
        raise NotAllowed(f"the {what} {text:.200} is not among those that the host of this app allows; {choose}")
    if not _exists(path):
        raise missing(f"there is no {what} {text:.200}; {choose}")
    allow_list.check_links(path, folders or (), text, depth)
    return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:
        return False


def _kept_upload(text: str) -> Path | None:
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
    if not _exists(path) or path.is_symlink() or (root / name).is_symlink():
        raise CorpusError("this upload is no longer kept; upload it again in Run")
    return path


# reading --------------------------------------------------------------------------------------------------------------


def of_host(local: bool) -> Settings:
    """The settings of an app; `local` where only the user of this machine can open it.

    Raises SettingsError where there is a file and it cannot be taken as it is.
    """
    if named := os.environ.get(VARIABLE):
        return read(Path(named))
    if BESIDE_THE_APP.exists():
        return read(BESIDE_THE_APP)
    return Settings.of_this_machine() if local else Settings()


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
    except (RecursionError, ValueError) as error:
        raise SettingsError(f"the settings file {file} is no TOML: {' '.join(str(error).split())[:200]}") from error
    return parse(content, file)


def parse(content: Mapping[str, Any], file: Path) -> Settings:
    """The settings that a TOML document says. file: for messages, and for relative folders. Raises SettingsError."""
    try:
        return Settings.model_validate(dict(content), context={"file": file})
    except ValidationError as error:
        raise SettingsError(f"{file}: {_what_is_wrong(error)}") from None


def _what_is_wrong(error: ValidationError) -> str:
    """The first fault of a document in words."""
    fault = error.errors(include_url=False)[0]
    section, *keys = fault["loc"]
    tables = Settings.model_fields
    if section not in tables:
        return f"there is no section [{section:.40}]; those that there are: {some_of(tables)}"
    known = tables[section].annotation.model_fields
    reason = str(fault.get("ctx", {}).get("error", ""))
    if not keys:
        return f"[{section}] {reason}" if reason else f"{section} is a section, so write [{section}] and its keys below"
    key = keys[0]
    if key not in known:
        return f"[{section}] has no key {key[:40]!r}; those that it has: {some_of(known)}"
    return f"[{section}] {key} must be {known[key].description}, not {fault['input']!r:.60}" + (
        f"; {reason}" if reason else ""
    )
