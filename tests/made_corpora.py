"""Small corpora that tests make: folders, tables, and raw corpora in memory."""

from neuronxa_core.corpora.parallel import RawCorpus

ENGLISH = ("The house is old.", "We drink cold water.", "The train is late today.", "She reads a long book.")
GERMAN = ("Das Haus ist alt.", "Wir trinken kaltes Wasser.", "Der Zug ist heute spät.", "Sie liest ein langes Buch.")
FRENCH = (
    "La maison est vieille.",
    "Nous buvons de l'eau froide.",
    "Le train est en retard.",
    "Elle lit un long livre.",
)
VIETNAMESE = ("Ngôi nhà đã cũ.", "Chúng tôi uống nước lạnh.", "Hôm nay tàu đến muộn.", "Cô ấy đọc một cuốn sách dài.")
ARABIC = ("البيت قديم جدا.", "نشرب الماء البارد.", "القطار متأخر اليوم.", "تقرأ كتابا طويلا.")
THAI = ("บ้านหลังนี้เก่า", "เราดื่มน้ำเย็น", "วันนี้รถไฟมาสาย", "เธออ่านหนังสือเล่มยาว")


def write(folder, **files):
    """A folder of text files, one per keyword: its bytes, or its lines."""
    folder.mkdir(parents=True, exist_ok=True)
    for code, content in files.items():
        data = content if isinstance(content, bytes) else "".join(f"{line}\n" for line in content).encode()
        (folder / f"{code}.txt").write_bytes(data)
    return folder


def raw_of(labels=None, problems=None, **texts):
    return RawCorpus("made", "made", texts, dict.fromkeys(texts, ()), problems or {}, labels)


def found(corpus, kind, language=None):
    return [f for f in corpus.findings if f.kind == kind and language in (None, f.language)]


def table(folder, content, name="t.csv"):
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path
