# TEMPORARY STAND-IN by the lead, so that other modules can run: overwrite this file with the real module.
from dataclasses import dataclass
from pathlib import Path
@dataclass(frozen=True)
class RawCorpus:
    name: str; source: str; texts: dict; changed: dict; problems: dict; labels: tuple | None
    @property
    def languages(self): return tuple(sorted(self.texts))
@dataclass(frozen=True)
class Corpus:
    name: str; pivot: str; languages: tuple; texts: dict; lines: tuple; usable: tuple; labels: tuple | None; findings: tuple
def read(source):
    folder = Path(__file__).parent / "demo" / "corpus" if source == "demo" else Path(source)
    texts = {f.stem: tuple(f.read_text().splitlines()) for f in folder.glob("*.txt") if f.stem != "labels"}
    return RawCorpus(source, str(source), texts, {}, {}, None)
def select(raw, pivot, languages=None, sentences=None, seed=None):
    languages = tuple(languages or [c for c in raw.languages if c != pivot])
    n = sentences or len(raw.texts[pivot])
    texts = {c: raw.texts[c][:n] for c in (pivot, *languages)}
    return Corpus(raw.name, pivot, languages, texts, tuple(range(1, n + 1)), tuple(i for i in range(n) if all(t[i] for t in texts.values())), None, ())
