"""What a language code says: its name, script and family, and which other codes mean the same."""

import string
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuronxa_core.corpora import languages

CODES_OF_FLORES_200 = """
ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi apc_Arab arb_Arab arb_Latn
ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn ban_Latn bel_Cyrl
bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn ceb_Latn ces_Latn cjk_Latn
ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek eng_Latn epo_Latn est_Latn eus_Latn
ewe_Latn fao_Latn fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn gla_Latn gle_Latn glg_Latn grn_Latn
guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn
ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda kas_Arab kas_Deva kat_Geor kaz_Cyrl kbp_Latn kea_Latn
khk_Cyrl khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn kmr_Latn knc_Arab knc_Latn kon_Latn kor_Hang lao_Laoo lij_Latn
lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn ltz_Latn lua_Latn lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva
mal_Mlym mar_Deva min_Arab min_Latn mkd_Cyrl mlt_Latn mni_Beng mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn
npi_Deva nso_Latn nus_Latn nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn pbt_Arab pes_Arab plt_Latn pol_Latn
por_Latn prs_Arab quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Olck scn_Latn shn_Mymr sin_Sinh slk_Latn
slv_Latn smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn
szl_Latn tam_Taml taq_Latn taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tpi_Latn tsn_Latn tso_Latn
tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn vie_Latn war_Latn
wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zsm_Latn zul_Latn
"""
FLORES_200 = tuple(CODES_OF_FLORES_200.split())


def pairs(text):
    """[(code, what it is)] of "code=what it is, ..."."""
    return [tuple(pair.strip().split("=")) for pair in text.replace("\n", " ").split(",")]


NAMES = """
eng_Latn=English, eng=English, en=English, EN=English, eng-latn=English, ger=German, deu_1996=German (1996),
zh=Chinese, zh_CN=Chinese (China), zh-Hans=Chinese (Simplified), zho_Hans=Chinese (Simplified),
zho_Hant=Chinese (Traditional), yue_Hant=Cantonese (Traditional), pt_BR=Portuguese (Brazil),
es_419=Spanish (Latin America), arb=Standard Arabic, arb_Arab=Standard Arabic, arb_Latn=Standard Arabic (Latin),
ar=Arabic, acq_Arab=Ta'izzi-Adeni Arabic, kas_Arab=Kashmiri, kas_Deva=Kashmiri (Devanagari), min_Latn=Minangkabau,
min_Arab=Minangkabau (Arabic), taq_Latn=Tamasheq, taq_Tfng=Tamasheq (Tifinagh), swh_Latn=Swahili, npi_Deva=Nepali,
kor_Hang=Korean, jpn_Jpan=Japanese, ben_Beng=Bengali, ben_Latn=Bengali (Latin), tgl_Latn=Tagalog, prs_Arab=Dari,
luo_Latn=Luo, oci_Latn_aran1260=Occitan (aran1260), de_QQ=German (QQ)
"""
SCRIPTS = """
arb_Latn=Latn, srp_latn=Latn, srp=Cyrl, zh=Hans, zho=Hans, zh_TW=Hant, jpn=Jpan, ko=Kore, hi=Deva, fas=Arab,
prs=Arab, swh=Latn, npi=Deva, el=Grek, EN_us=Latn, xyz_Latn=Latn, xyz=, nonsense=, =, acq=
"""
FAMILIES = """
eng_Latn=Germanic, en=Germanic, ger=Germanic, pt_BR=Romance, fur_Latn=Romance, rus_Cyrl=Slavic, hin_Deva=Indo-Aryan,
prs_Arab=Iranian, tr=Turkic, fi=Uralic, swh_Latn=Bantu, sw=Bantu, arz_Arab=Semitic, mlt_Latn=Semitic,
tam_Taml=Dravidian, zh-Hant=Sino-Tibetan, ind_Latn=Austronesian, tl=Austronesian, vie_Latn=Austroasiatic,
tha_Thai=Kra-Dai, jpn_Jpan=Japonic, kor_Hang=Koreanic, eus_Latn=Language isolate, hat_Latn=Creole,
epo_Latn=Constructed, ell_Grek=Greek, yor_Latn=Atlantic-Congo, xyz_Latn=Other, nonsense=Other
"""
MATCHES = """
eng_Latn=eng_Latn, ENG-LATN=eng_Latn, en=eng_Latn, deu=deu_Latn, ger=deu_Latn, de_AT=deu_Latn, arb=arb_Arab arb_Latn,
ar=arb_Arab arb_Latn, arb-Arab=arb_Arab, ar-Latn=arb_Latn, zh=zho_Hans zho_Hant, zh_TW=zho_Hant, zh-Hans=zho_Hans,
cmn=zho_Hans zho_Hant, sw=swh_Latn, swc=, prs=prs_Arab, fa=pes_Arab prs_Arab, no=nob_Latn, nn=nno_Latn, ms=zsm_Latn,
et=est_Latn, ko=kor_Hang, ja=jpn_Jpan, fil=tgl_Latn, deu_Grek=, xyz=, no code=, =
"""
CODES = """
en eng ENG eng_Latn eng-Latn glg_latn zh_CN zh-Hans zh_Hant_TW deu_1996 es_419 xyz_Latn oci_Latn_aran1260 ger iw
"""
NO_CODES = """
e labels label text topic README xyz xy qqq und mul zxx mis eng_ _Latn eng__Latn eng_Latn_ raw_data dev_test the_file
eng.txt 42 ｅｎ eng_deu
"""


@pytest.mark.parametrize(
    ("function", "text"), [(languages.name, NAMES), (languages.script, SCRIPTS), (languages.family, FAMILIES)]
)
def test_name_script_and_family(function, text):
    assert [(code, function(code) or "") for code, _ in pairs(text)] == pairs(text)


@pytest.mark.parametrize("code", ["xyz", "xyz_Latn", "qqq", "label", "", "not a code", "mul", "en_Data", "日本語", "e"])
def test_unknown_code_is_returned_as_it_is(code):
    assert languages.name(code) == languages.label(code) == code


def test_label_has_name_and_code():
    assert languages.label("swh_Latn") == "Swahili (swh_Latn)"


def test_every_flores_code_is_known_and_named_differently():
    assert len(FLORES_200) == len({languages.name(code) for code in FLORES_200}) == 204
    for code in FLORES_200:
        english = languages.name(code)
        assert english != code and english[0].isupper(), code
        assert "Unknown" not in english and "language)" not in english, code
        assert languages.is_language_code(code), code
        assert languages.family(code) != "Other", code
        assert languages.script(code) == code.split("_")[1], code
        assert languages.matches(code, FLORES_200) == (code,)
    # few enough to colour
    assert 20 <= len({languages.family(code) for code in FLORES_200}) <= 40


@pytest.mark.parametrize(
    ("script", "expected"),
    [("Deva", "Devanagari"), ("Beng", "Bengali"), ("latn", "Latin"), ("Hang", "Hangul"), ("Qqqq", "Qqqq")],
)
def test_script_name(script, expected):
    assert languages.script_name(script) == expected


def test_right_to_left():
    assert all(map(languages.is_rtl, ["arb_Arab", "ar", "heb_Hebr", "pes_Arab", "fa", "urd_Arab", "ydd_Hebr", "dv"]))
    assert not any(map(languages.is_rtl, ["arb_Latn", "eng_Latn", "zho_Hans", "min_Latn", "hin_Deva", "xyz", ""]))


def test_what_is_a_code():
    assert [code for code in CODES.split() if not languages.is_language_code(code)] == []
    assert [text for text in ["", "eng Latn", "en\n", *NO_CODES.split()] if languages.is_language_code(text)] == []


def test_matches_in_flores():
    expected = [(code, tuple(found.split())) for code, found in pairs(MATCHES)]
    assert [(code, languages.matches(code, FLORES_200)) for code, _ in expected] == expected


@pytest.mark.parametrize(
    ("code", "codes", "expected"),
    [
        ("eng_Latn", ("en", "de"), ("en",)),
        ("nob_Latn", ("no", "da"), ("no",)),
        ("prs_Arab", ("pes_Arab",), ()),
        ("pt", ("pt_BR", "pt-PT"), ("pt_BR", "pt-PT")),
        ("xyz-latn", ("xyz_Latn",), ("xyz_Latn",)),
        ("odd name", ("odd name",), ("odd name",)),
        ("en", (), ()),
    ],
)
def test_matches_elsewhere(code, codes, expected):
    assert languages.matches(code, codes) == expected


def test_two_scripts_of_one_language_never_share_a_name():
    for language in ("min", "zho", "arb", "kas", "srp", "uzn", "azb", "pan", "xho"):
        for first, second in combinations(("Latn", "Cyrl", "Arab", "Deva", "Hans", "Hant"), 2):
            assert languages.name(f"{language}_{first}") != languages.name(f"{language}_{second}")


@given(st.text(max_size=20) | st.text(alphabet=string.ascii_letters + "_-0123456789", max_size=20))
def test_any_text_has_an_answer(text):
    assert languages.name(text)[:1] == text[:1] or languages.is_language_code(text)
    assert languages.script(text) is None or len(languages.script(text)) == 4
    assert isinstance(languages.family(text), str)
    assert text in languages.label(text)


@given(st.sampled_from(FLORES_200), st.booleans(), st.sampled_from("-_"))
def test_case_and_separator_say_nothing(code, upper, separator):
    other = code.replace("_", separator)
    other = other.upper() if upper else other.lower()
    assert languages.name(other) == languages.name(code)
    assert languages.script(other) == languages.script(code)
    assert languages.family(other) == languages.family(code)
    assert languages.is_language_code(other)


@pytest.mark.parametrize(
    ("code", "tag"),
    [("tha_Thai", "th"), ("arb_Arab", "arb-Arab"), ("por_Latn", "pt"), ("no code!", "und"), ("zz_9", "und")],
)
def test_a_code_is_a_tag_that_browsers_know(code, tag):
    assert languages.tag(code) == tag
