"""The language that a task's name in the lm-evaluation-harness ends in."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

import langcodes

from neuronxa_core.corpora import languages
from neuronxa_core.tasks.language_names import code_of

SCRIPT_FORM = re.compile(r"[a-z]{2,3}[-_][a-z]{4}(?:[-_](?:[a-z0-9]{5,8}|\d[a-z0-9]{3}))?", re.IGNORECASE | re.ASCII)
# codes of countries that stand for their language, as in xwinograd_jp
LANGUAGE_OF_COUNTRY = {"cn": "zh", "cz": "cs", "dk": "da", "gr": "el", "jp": "ja", "ua": "uk", "vn": "vi"}
# two parts that are one language: elsewhere the first may end the task's name, as in lambada_openai_mt_de and m_arc_de
LOCALES = re.compile(
    r"(?:ar_xy|bn_bd|de_(?:at|ch|de)|en_(?:gb|us)|es_(?:419|es|la|mx)|fr_(?:ca|fr)|hi_in|id_id|it_it|ja_jp|ko_kr"
    r"|pt_(?:br|pt)|sw_ke|yo_ng|zh_(?:cn|hk|sg|tw))"
)
# what may follow the language, as in truthfulqa_de_mc1, mgsm_de_direct and arc_de_challenge
QUALIFIER = re.compile(
    r"_(mc[12]|gen|direct|native[-_]cot|en[-_]cot|cot|native|few_shot_(?:en|og)|prompt_\d+|challenge|easy|m?cf|hybrid"
    r"|\d+[-_]?shot)$"
)
WITH_SUBJECTS = re.compile(r"(global_mmlu_full|global_mmlu|include_base_44|mmlu_prox_lite|mmlu_prox)_(.+)")
# translation has two languages; the codes at the end of AGIEval's names are sections of exams (lsat_ar)
NO_LANGUAGE_TASKS = re.compile(r"wmt|flores|iwslt|opus|ntrex|mafand|agieval|tatoeba", re.IGNORECASE)
MULTILINGUAL_TASKS = re.compile(
    r"(?:^|_)(?:arc|belebele|xnli|xcopa|xstory_?cloze|paws-?x?|xwinograd|xquad|mlqa|mgsm|m?mmlu|hellaswag|truthfulqa"
    r"|lambada_openai_mt|tydiqa|sib200|xlsum|multiblimp|bmlama|afri\w+)(?=_|$)"
)
# codes that are also words or abbreviations at the end of the name of a task in one language
CODES_THAT_ARE_WORDS = re.compile(
    r"a[mns]|be|c[os]|fin|h[eo]|hat|her|i[dnst]|l[ao]|lit|m[lrty]|may|n[ao]|o[mr]|pa|per|pol|run|s[ceo]|sun|to"
)
# an abbreviation of machine translation, so Maltese only beside other languages
MACHINE_TRANSLATED = "mt"


def task_language(name: str) -> tuple[str, str] | None:
    """(task, language) of a task of the lm-evaluation-harness, None where its name names no language for certain.

    "belebele_acm_Arab" -> ("belebele", "acm_Arab"), "xwinograd_jp" -> ("xwinograd", "ja"), "truthfulqa_de_mc1" ->
    ("truthfulqa_mc1", "de"), "include_base_44_german" -> ("include_base_44", "de"). Not certain: a code that is also a
    word at the end of a task that is not known to be multilingual (polemo2_in), and a rare code (mmlu_pro).
    """
    found = split(name) if len(name) <= 200 else None
    return (found.task, found.code) if found and found.is_certain and not found.subject else None


@dataclass(frozen=True)
class TaskName:
    """A task's name in parts. is_certain: whether the code is a language whatever tasks stand beside it."""

    task: str
    code: str
    subject: str
    is_certain: bool


@lru_cache(maxsize=8192)
def split(name: str) -> TaskName | None:
    """The parts of a task's name, None where no language is in it."""
    parts = name.split("|")
    base = parts[1] if len(parts) > 2 else name
    if NO_LANGUAGE_TASKS.match(base):
        return None
    stem, qualifiers = base, ""
    while found := QUALIFIER.search(stem):
        stem, qualifiers = stem[: found.start()], found[0] + qualifiers
    with_subject = WITH_SUBJECTS.fullmatch(stem)
    if with_subject:
        family, rest = with_subject.groups()
        words = rest.split("_")
        for size in (2, 1):
            code = (
                code_of(" ".join(words[:size]))
                if family == "include_base_44"
                else _code_in_name("_".join(words[:size]))
            )
            if code and len(words) >= size:
                return TaskName(family + qualifiers, code, "_".join(words[size:]), True)
        return None
    words = stem.split("_")
    for size in (3, 2, 1):
        code = _code_in_name("_".join(words[-size:])) if any(words[:-size]) else ""
        if code:
            task = "_".join(words[:-size])
            return TaskName(task + qualifiers, code, "", _is_certain(task, code))
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


def _is_certain(task: str, code: str) -> bool:
    if len(code) > 3:
        return True
    has_two_letters = len(langcodes.Language.get(code).language or "") == 2
    is_known_task = MULTILINGUAL_TASKS.search(task.lower()) is not None
    is_word = CODES_THAT_ARE_WORDS.fullmatch(code) is not None
    return has_two_letters and code != MACHINE_TRANSLATED and (not is_word or (len(code) == 2 and is_known_task))
