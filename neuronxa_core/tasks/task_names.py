"""The language that a task's name in the lm-evaluation-harness ends in."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import langcodes

from neuronxa_core.corpora import languages
from neuronxa_core.tasks.language_names import code_of

SCRIPT_FORM = re.compile(r"[a-z]{2,3}[-_][a-z]{4}(?:[-_](?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))?", re.IGNORECASE | re.ASCII)
# codes of countries that stand for their language, as in xwinograd_jp; in one task, ch is Chinese
LANGUAGE_OF_COUNTRY = {"cn": "zh", "cz": "cs", "dk": "da", "gr": "el", "jp": "ja", "ua": "uk", "vn": "vi"}
CODES_OF_TASKS = {("pisa", "ch"): "zh"}
# two parts that are one language: elsewhere the first may end the task's name, as in lambada_openai_mt_de and m_arc_de
LOCALES = re.compile(
    r"(?:ar_xy|bn_bd|de_(?:at|ch)|en_(?:gb|us)|es_(?:419|la|mx)|fr_ca|hi_in|ja_jp|ko_kr|pt_br|sw_ke|yo_ng"
    r"|zh_(?:cn|hk|sg|tw))"
)
# two languages at a name's end: of a text and of a question in mlqa_ar_de, of a translation
TWO_LANGUAGES = re.compile(r"_([a-z]{2})[-_]([a-z]{2})$|_([a-z]{3})-([a-z]{3})$", re.IGNORECASE | re.ASCII)
# what may follow the language, as in truthfulqa_de_mc1, mgsm_de_direct and arc_de_challenge
QUALIFIER = re.compile(
    r"_(mc[12]|gen|direct|native[-_]cot|en[-_]cot|cot|native|few_shot_(?:en|og)|prompt_\d+|challenge|easy|m?cf|hybrid"
    r"|llm_judged|\d+[-_]?shot)$"
)
WITH_SUBJECTS = re.compile(r"(global_mmlu_full|global_mmlu|include_base_44|mmlu_prox_lite|mmlu_prox)_(.+)")
# translation has two languages; elsewhere the codes are sections of exams (lsat_ar, csatqa_li), dialects or words
NO_LANGUAGE_TASKS = re.compile(
    r"wmt|flores|iwslt|opus|ntrex|mafand|tatoeba|salt_|phrases_|agieval|csatqa|aradice|lm_syneval|(?<!multi)blimp|bhs_",
    re.IGNORECASE,
)
# families of the harness and of others that are in several languages, so that each of their tasks is in one
MULTILINGUAL_TASKS = re.compile(
    r"(?:^|_)(?:arc|belebele|xnli|xcopa|xstory_?cloze|paws-?x?|xwinograd|xquad|mlqa|mgsm|m?mmlu|mmlu_prox(?:_lite)?"
    r"|global_mmlu(?:_full)?|include_base_44|global_piqa\w*|hellaswag|truthfulqa(?:-multi)?|lambada(?:_openai)?_mt\w*"
    r"|tydiqa|sib(?:200)?|xlsum|multiblimp|bmlama|headqa|eqbench|pisa|mela|masakha\w+|injongointent|naijarc|nollysenti"
    r"|uhura-arc-easy|afri\w+)(?=_|$)"
)
# codes that are also words or abbreviations at the end of the name of a task in one language
CODES_THAT_ARE_WORDS = re.compile(
    r"a[mns]|be|c[os]|fin|h[eo]|hat|her|i[dnst]|l[ao]|lit|m[lrty]|may|n[ao]|o[mr]|pa|per|pol|run|s[ceo]|sun|to"
)
# an abbreviation of machine translation, so Maltese only beside other languages
MACHINE_TRANSLATED = "mt"


@dataclass(frozen=True)
class TaskName:
    """A task's name in parts.

    kind: how sure it is that the code is its language; certain: whatever tasks stand beside it; likely: beside others
    of the same task; unlikely: a word or a rare code; pair: a code of two languages, so that the task is in none alone.
    """

    task: str
    code: str
    subject: str
    kind: Literal["certain", "likely", "unlikely", "pair"]


def task_languages(names: Iterable[str]) -> dict[str, TaskName]:
    """The tasks of the lm-evaluation-harness that are in one language, by name.

    "belebele_acm_Arab" -> ("belebele", "acm_Arab"), "xwinograd_jp" -> ("xwinograd", "ja"), "truthfulqa_de_mc1" ->
    ("truthfulqa_mc1", "de"), "mlqa_de_de" -> ("mlqa", "de"), "include_base_44_german" -> ("include_base_44", "de").

    The harness's files do not say a task's language, so it comes from known multilingual families, from codes with a
    script, or from what stands beside it: of an unknown task at least two languages, and more of them than of other
    endings. A code that is also a word (polemo2_in), or rare (mmlu_pro), needs two certain ones of its length there.
    """
    names = [name for name in dict.fromkeys(names) if len(name) <= 200]
    parts = {name: found for name in names if (found := split(name)) and found.kind != "pair"}
    of_no_code = map(_without_qualifiers, (name for name in names if name not in parts))
    others = Counter(stem.rpartition("_")[0] + qualifiers for stem, qualifiers in of_no_code)
    likely = Counter(task for task, _ in {(one.task, one.code) for one in parts.values() if one.kind == "likely"})
    sure = {
        name: one
        for name, one in parts.items()
        if one.kind == "certain" or (one.kind == "likely" and likely[one.task] > max(1, others[one.task]))
    }
    lengths = Counter((one.task, len(one.code)) for one in sure.values() if not one.subject)
    return {name: one for name, one in parts.items() if name in sure or lengths[one.task, len(one.code)] > 1}


def _without_qualifiers(name: str) -> tuple[str, str]:
    """(a task's name without what may follow its language, what followed)."""
    parts = name.split("|")
    stem, qualifiers = parts[1] if len(parts) > 2 else name, ""
    while found := QUALIFIER.search(stem):
        stem, qualifiers = stem[: found.start()], found[0] + qualifiers
    return stem, qualifiers


@lru_cache(maxsize=8192)
def split(name: str) -> TaskName | None:
    """The parts of a task's name, None where no language is in it."""
    stem, qualifiers = _without_qualifiers(name)
    if NO_LANGUAGE_TASKS.search(stem):
        return None
    with_subject = WITH_SUBJECTS.fullmatch(stem)
    if with_subject:
        family, rest = with_subject.groups()
        words, read = rest.split("_"), code_of if family == "include_base_44" else _code_in_name
        for size in (2, 1):
            code = read((" " if read is code_of else "_").join(words[:size]))
            if code and len(words) >= size:
                return TaskName(family + qualifiers, code, "_".join(words[size:]), "certain")
        return None
    two = TWO_LANGUAGES.search(stem)
    first, second = [part for part in two.groups() if part] if two else ("", "")
    if two and not LOCALES.fullmatch(two[0][1:].lower().replace("-", "_")) and _kind("", first) == "likely":
        if first == second:
            stem = stem[: -len(second) - 1]
        elif _code_in_name(second):
            return TaskName(stem[: two.start()] + qualifiers, f"{first}-{second}", "", "pair")
    words = stem.split("_")
    for size in (3, 2, 1):
        task, code = "_".join(words[:-size]), _code_in_name("_".join(words[-size:])) if any(words[:-size]) else ""
        if code:
            code = CODES_OF_TASKS.get((task, code), code)
            return TaskName(task + qualifiers, code, "", _kind(task, code))
    return None


def _code_in_name(text: str) -> str:
    """The code that a part of a task's name is: a bare language, one with its script, or a usual locale."""
    plain = text.lower().replace("-", "_")
    if LOCALES.fullmatch(plain):
        return text
    if SCRIPT_FORM.fullmatch(text) or len(text) in (2, 3):
        code = LANGUAGE_OF_COUNTRY.get(plain, text)
        return code if languages.is_language_code(code) else ""
    return ""


def _kind(task: str, code: str) -> Literal["certain", "likely", "unlikely"]:
    if len(code) > 3:
        return "certain"
    is_known_task = MULTILINGUAL_TASKS.search(task.lower()) is not None
    is_word = CODES_THAT_ARE_WORDS.fullmatch(code) is not None and not (len(code) == 2 and is_known_task)
    has_two_letters = languages.is_language_code(code) and len(langcodes.Language.get(code).language or "") == 2
    if is_word or code == MACHINE_TRANSLATED or not has_two_letters:
        return "unlikely"
    return "certain" if is_known_task else "likely"
