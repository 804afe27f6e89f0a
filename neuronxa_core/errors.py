"""What can go wrong, one class per kind; each message says what, where, and what to do."""

from neuronxa_core.host.redaction import redacted


class NeuronXAError(Exception):
    """Anything that a user can mend: pages show its text, the command line prints it and exits with 2.

    Tokens and passwords are taken out of its text, since it may repeat the words of a library.
    """

    def __init__(self, *arguments: object) -> None:
        super().__init__(*(redacted(one) if isinstance(one, str) else one for one in arguments))


class CorpusError(NeuronXAError):
    """A corpus cannot be read, or what it holds makes a score meaningless."""


class ModelError(NeuronXAError):
    """A model or its neurons cannot be found, or it cannot be loaded."""


class ModelBusy(NeuronXAError):
    """The loaded model is in use by another run; try again when that is over."""


class ExtractionError(NeuronXAError):
    """A forward pass failed, or gave inf or NaN."""


class StoreError(NeuronXAError):
    """The cache on disk cannot be used as it is."""


class CorruptEntry(StoreError):
    """An entry of the cache is not what was written; it has been dropped and can be computed again."""

    def __init__(self, key: str, reason: str) -> None:
        super().__init__(f"cache entry {key} was damaged ({reason}) and has been dropped; run again to recompute it")
        self.key = key


class ExperimentError(NeuronXAError):
    """A choice is unknown or does not fit the others."""


class StatesMissing(ExperimentError):
    """Stored states that something reads are not there. name: which of the language's. plan: whose they are."""

    def __init__(self, language: str, name: str, plan: object) -> None:
        state, pooling = name.split("_")
        super().__init__(
            f"the states of {language} ({state.upper()}, {pooling}) are not in the cache; run the extraction first"
        )
        self.name, self.plan = name, plan


class Cancelled(NeuronXAError):
    """The user asked for the run to stop; what was finished before is kept."""


class ScoresError(NeuronXAError):
    """Task scores cannot be read, contradict each other, or cannot be told apart."""


class HarnessError(NeuronXAError):
    """lm-evaluation-harness is not installed, or its run failed."""


class QueueFull(NeuronXAError):
    """Too many jobs wait already."""


class SettingsError(NeuronXAError):
    """The host's settings file cannot be read, or has a wrong value."""


class NotAllowed(NeuronXAError):
    """The host's settings do not allow it; the message is the same whether it exists or not."""


class NotSignedIn(NeuronXAError):
    """The host asks for a sign-in, and there is none that counts."""
