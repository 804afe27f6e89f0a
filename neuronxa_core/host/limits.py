"""How much is read of what nobody checked: corpora, score tables, settings. What is larger is refused with a reason.

They are far above what the work needs (FLORES-200 has 204 languages of 1012 lines) and far below what fills a memory.
"""

from pathlib import Path

MIB = 1 << 20

# a corpus
CORPUS_FILE_BYTES = 256 * MIB
CORPUS_BYTES = 512 * MIB
CORPUS_FILES = 2000
CORPUS_COLUMNS = 1000
CORPUS_LINES = 1_000_000
# cells of a table, and letters that they hold together
CORPUS_CELLS = 10_000_000
CORPUS_LETTERS = 512 * MIB
# bytes of one line or cell: a sentence, if a long one
LINE_BYTES = 1 * MIB

# a Parquet file says of itself how large it is; this much of what it says of itself is read
PARQUET_CONTAINER = 200_000
PARQUET_STRING_BYTES = 16 * MIB
# its row groups times its columns
PARQUET_CHUNKS = 200_000
# of the process that unpacks it: address space, and seconds of computing
PARQUET_MEMORY_BYTES = 6 * 1024 * MIB
PARQUET_SECONDS = 120

# task scores
SCORES_FILE_BYTES = 64 * MIB
SCORES_BYTES = 512 * MIB
SCORES_CELLS = 500_000
SCORES_FILES = 5000

# folders that are looked through for models and corpora to offer
OFFERED = 300
OFFERED_DEPTH = 3
LOOKED_THROUGH = 5000
# files of a folder that are looked at for links that lead away
LINKS_LOOKED_FOR = 50_000

# what pages keep in memory: corpora, plans and results, of all visitors together
KEPT_BYTES = 1024 * MIB

SETTINGS_BYTES = 1 * MIB
NAME_LETTERS = 200
PATH_LETTERS = 4096


def first_bytes(file: Path, most: int) -> bytes:
    """A file's content, and no more than one byte beyond `most`: a pipe has no size, and a file can grow.

    Raises OSError.
    """
    with file.open("rb") as handle:
        return handle.read(most + 1)
