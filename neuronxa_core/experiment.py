"""What the user chose, as one frozen value that names every computation and every link to a view."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace

from neuronxa_core.errors import ExperimentError
from neuronxa_core.host.limits import CORPUS_COLUMNS, NAME_LETTERS, PATH_LETTERS
from neuronxa_core.states.precision import STORAGE

CHOICES = {
    "state": ("nas", "nav", "emb", "hid"),
    "pooling": ("weighted", "last", "mean"),
    "neuron": ("product", "gate"),
    "dtype": ("auto", "float32", "bfloat16", "float16", "int8", "nf4"),
    "device": ("auto", "cpu", "cuda"),
    "layers": ("mean", "max"),
    "storage": ("auto", *STORAGE),
}
STATES = CHOICES["state"][:3]
"""Those that are set side by side unless another one is asked for."""
ENTRIES = tuple(f"{state}_{pooling}" for pooling in CHOICES["pooling"] for state in CHOICES["state"])
"""What is kept of a language one by one: `nas_weighted`, `nav_weighted`, ... `hid_mean`."""


@dataclass(frozen=True)
class Experiment:
    """One question to a model.

    model: `demo`, a folder or a hub id. corpus: `demo`, a folder or a file. languages: codes, empty for all of the
    corpus. sentences: the first so many lines, or a random sample where there is a seed; None for all.
    state, pooling, neuron: see states.extraction. layers: how the layers' scores are pooled. storage: see
    states.precision and planning.make_plan. kept: which of ENTRIES a run keeps at once; `nas_weighted`, with the
    activation counts, and what is read are kept anyhow.
    """

    model: str = "demo"
    corpus: str = "demo"
    pivot: str = "eng_Latn"
    languages: tuple[str, ...] = ()
    sentences: int | None = None
    seed: int | None = None
    state: str = "nas"
    pooling: str = "weighted"
    neuron: str = "product"
    dtype: str = "auto"
    device: str = "auto"
    layers: str = "mean"
    storage: str = "auto"
    kept: tuple[str, ...] = ("nas_weighted", "nav_weighted", "emb_weighted")

    def __post_init__(self) -> None:
        for name, allowed in CHOICES.items():
            if getattr(self, name) not in allowed:
                raise ExperimentError(f"{name} is one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        if not self.kept or (unknown := set(self.kept) - set(ENTRIES)):
            raise ExperimentError(f"kept are some of {', '.join(ENTRIES)}, not {min(unknown) if self.kept else ''!r}")
        if self.sentences is not None and self.sentences < 2:
            raise ExperimentError(f"sentences must be at least 2, not {self.sentences}")
        if self.seed is not None and self.seed < 0:
            raise ExperimentError(f"seed must be 0 or more, not {self.seed}")
        for name, most in (("model", PATH_LETTERS), ("corpus", PATH_LETTERS), ("pivot", NAME_LETTERS)):
            if not getattr(self, name).strip():
                raise ExperimentError(f"{name} is empty")
            if len(getattr(self, name)) > most:
                raise ExperimentError(f"{name} is longer than {most} letters")
        if len(self.languages) > CORPUS_COLUMNS or max(map(len, self.languages), default=0) > NAME_LETTERS:
            raise ExperimentError(f"at most {CORPUS_COLUMNS} languages may be named, in {NAME_LETTERS} letters each")

    @property
    def extraction(self) -> Experiment:
        """The part that decides which states are needed: two experiments that differ elsewhere share one run."""
        return replace(self, state="nas", pooling="weighted", layers="mean", kept=self.needed)

    @property
    def needed(self) -> tuple[str, ...]:
        """Which of ENTRIES are needed: `nas_weighted`, what is read, and what is to be kept at once."""
        return tuple(one for one in ENTRIES if one in (ENTRIES[0], f"{self.state}_{self.pooling}", *self.kept))

    @property
    def states_compared(self) -> tuple[str, ...]:
        """What is set side by side: STATES, with HID in EMB's place where that is what is read."""
        return (*STATES[:2], "hid") if self.state == "hid" else STATES

    @property
    def key(self) -> str:
        """A hash of all choices."""
        return digest(asdict(self))

    def to_query(self) -> dict[str, str]:
        """URL parameters of the choices that are not the default."""
        query = {}
        for field in fields(self):
            value = getattr(self, field.name)
            if value != field.default:
                query[field.name] = ",".join(value) if isinstance(value, tuple) else str(value)
        return query

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> Experiment:
        """The experiment that a link names. Raises ExperimentError for values that are none."""
        values: dict = {}
        for field in fields(cls):
            text = query.get(field.name)
            if not text:
                continue
            if field.name in ("languages", "kept"):
                values[field.name] = tuple(one for one in text.split(",") if one)
            elif field.name in ("sentences", "seed"):
                if not text.isascii() or not text.isdigit() or len(text) > 9:
                    raise ExperimentError(f"{field.name} in the link is a whole number, not {text[:40]!r}")
                values[field.name] = int(text)
            else:
                values[field.name] = text
        return cls(**values)


def digest(content: object) -> str:
    """A short hash of anything that JSON can say."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()
