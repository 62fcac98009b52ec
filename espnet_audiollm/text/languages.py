"""What the languages do otherwise: case, apostrophes, letters of two forms, no blanks.

Every rule is one that keeps a text of the right words from counting as wrong, because two
keyboards, orthographies or corpora write the same word in two ways. Nothing is translated,
stemmed or corrected. A language of `PLAIN` needs no more than the basic form. Transcripts follow
only those rules that keep words whole (`whole_words`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass

KEPT = "\ue000"  # an apostrophe that stays though it is at the edge of a word

Fold = Callable[[str], str]


@dataclass(frozen=True)
class Language:
    """How texts of a language are normalised."""

    code: str  # ISO 639, as corpora name it
    name: str
    folds: tuple[Fold, ...] = ()  # after `within`, before the punctuation goes
    about: tuple[str, ...] = ()  # the rules in words
    lower: Fold = str.lower
    spaced: bool = True  # False: no blanks between words, every character counts as a word
    within: tuple[Fold, ...] = ()  # of punctuation that is part of a word, in lower case

    def whole_words(self, text: str) -> str:
        """Lower case, without what would part a word in two once the punctuation goes; letters are
        as they were written."""
        text = _without_format(self.lower(_QUOTES.sub("'", text)))
        for rule in self.within:
            text = rule(text)
        return text

    def fold(self, text: str) -> str:
        """Lower case and one form of each letter; the punctuation is still there."""
        text = self.whole_words(_APOSTROPHES.sub("'", text))
        for fold in self.folds:
            text = fold(text)
        return text

    def part(self, text: str) -> str:
        """Blanks between the words of a text without punctuation."""
        return text if self.spaced else " ".join(_characters(text))


# --- rules --------------------------------------------------------------------------------------

_APOSTROPHES = re.compile("[\u2018\u2019\u02bb\u02bc\u02b9`\u00b4]")
_QUOTES = re.compile("[\u2018\u2019`]")  # apostrophes that are no letters
_FORMAT = re.compile("[\u00ad\u200b-\u200f\u202a-\u202e\u2060\ufeff]")
_OF_CHARACTERS = re.compile(
    "[\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)


def _without_format(text: str) -> str:
    """Soft hyphens, joiners, direction marks: they are not seen, so they part no word."""
    return _FORMAT.sub("", text)


def _characters(text: str) -> list[str]:
    """Characters of scripts without blanks, marks with their base; words of other scripts."""
    parts: list[str] = []
    for word in text.split():
        for i, char in enumerate(word):
            mark = unicodedata.category(char)[0] == "M"
            if i and (mark or not (_OF_CHARACTERS.match(char) or _OF_CHARACTERS.match(parts[-1]))):
                parts[-1] += char
            else:
                parts.append(char)
    return parts


def _letters(before: str, after: str) -> Fold:
    """Letters of `before` become those of `after`."""
    table = str.maketrans(before, after)
    return lambda text: text.translate(table)


def _without(pattern: str) -> Fold:
    found = re.compile(pattern)
    return lambda text: found.sub("", text)


def _elided(words: str) -> Fold:
    """These words before an apostrophe are words of their own: "l'homme" is "l' homme"."""
    found = re.compile(rf"(?<!\w)({words})'")
    return lambda text: found.sub(rf"\1{KEPT} ", text)


def _attached(words: str) -> Fold:
    """These after an apostrophe are words of their own: "compra'l" is "compra 'l"."""
    found = re.compile(rf"'({words})(?!\w)")
    return lambda text: found.sub(rf" {KEPT}\1", text)


def _shortened(words: str) -> Fold:
    """These stay as they are, with the apostrophe before or after them: "'s", "po'"."""
    found = re.compile(rf"(?<!\w)({words})(?!\w)")
    return lambda text: found.sub(lambda match: match[1].replace("'", KEPT), text)


def _turkic(text: str) -> str:
    return text.replace("\u0130", "i").replace("I", "\u0131").lower()


def _without_gershayim(text: str) -> str:
    return _GERSHAYIM.sub(r"\1", text)


# --- languages ----------------------------------------------------------------------------------

FRENCH = "c|d|j|l|m|n|s|t|qu|jusqu|lorsqu|puisqu|quoiqu"
ITALIAN = (
    "c|d|gl|l|m|n|s|t|v|un|all|coll|dall|dell|nell|sull|quest|quell|bell|sant|anch|com|cos|dov|"
    "quand|tutt|senz|mezz|nient|null|nessun|ciascun|qualcun|alcun|grand|degl|dagl|agl|negl|sugl"
)
CATALAN, CATALAN_AFTER = "d|l|m|n|s|t", "l|ls|n|ns|m|s|t|us|hi|ho"
ELIDED = "an elided word is a word of its own (l'homme: l' homme)"
CHARACTERS = "no blanks, so every character counts as a word"

_ARABIC = (_without("[\u064b-\u0652\u0670\u0640]"),)  # vowel signs, tatweel
_HEBREW_POINTS = "[\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7]"
_GERSHAYIM = re.compile(  # between two letters, which may have points
    f"([\u05d0-\u05ea]{_HEBREW_POINTS}*)[\"'\u05f3\u05f4](?={_HEBREW_POINTS}*[\u05d0-\u05ea])"
)


def _without_blanks(code: str, name: str, *folds: Fold) -> Language:
    return Language(code, name, folds, (CHARACTERS,), spaced=False)


_RULED = (
    Language("de", "German", (lambda text: text.replace("ß", "ss"),), ("ß is ss",)),
    Language("fr", "French", (_elided(FRENCH),), (ELIDED,)),
    Language(
        "it",
        "Italian",
        (_elided(ITALIAN),),
        ("an elided word is a word of its own (l'uomo: l' uomo)", "po' stays"),
        within=(_shortened("po'|mo'|be'"),),
    ),
    Language(
        "ca",
        "Catalan",
        (_elided(CATALAN), _attached(CATALAN_AFTER)),
        ("an elided word is a word of its own (l'home: l' home; compra'l: compra 'l)", "l·l is ll"),
        within=(_without("(?<=l)[.\u00b7\u2022\u2219](?=l)"),),
    ),
    Language(
        "nl",
        "Dutch",
        about=("'s and 't stay",),
        within=(_shortened("'s|'t|'n|'k|'m|'r"),),
    ),
    Language("tr", "Turkish", about=("I is ı, İ is i",), lower=_turkic),
    Language("az", "Azerbaijani", about=("I is ı, İ is i",), lower=_turkic),
    Language("ro", "Romanian", (_letters("şţ", "șț"),), ("ş and ţ are ș and ț",)),
    Language("ru", "Russian", (_letters("ё", "е"),), ("ё is е",)),
    Language("ar", "Arabic", _ARABIC, ("without vowel signs and tatweel",)),
    Language(
        "fa",
        "Persian",
        (*_ARABIC, _letters("يك", "یک")),
        ("without vowel signs and tatweel", "Arabic ي ك are ی ک"),
    ),
    Language(
        "he",
        "Hebrew",
        (_without(_HEBREW_POINTS),),
        ("without points", 'צה"ל is one word'),
        within=(_without_gershayim,),
    ),
    _without_blanks("zh", "Chinese"),
    _without_blanks("yue", "Cantonese"),
    _without_blanks("ja", "Japanese"),
    _without_blanks("th", "Thai", lambda text: text.replace("\u0e40\u0e40", "\u0e41")),
    _without_blanks("lo", "Lao"),
    _without_blanks("km", "Khmer"),
    _without_blanks("my", "Burmese"),
)

_PLAIN = """ab Abkhaz, af Afrikaans, am Amharic, as Assamese, ast Asturian, ba Bashkir, bas Basaa,
be Belarusian, bg Bulgarian, bn Bengali, br Breton, ckb Sorani, cnh Hakha_Chin, cs Czech,
cv Chuvash, cy Welsh, da Danish, dv Dhivehi, dyu Dioula, el Greek, en English, eo Esperanto,
es Spanish, et Estonian, eu Basque, fi Finnish, fy Frisian, ga Irish, gl Galician, gn Guarani,
gu Gujarati, ha Hausa, hi Hindi, hr Croatian, hsb Upper_Sorbian, ht Haitian, hu Hungarian,
hy Armenian, ia Interlingua, id Indonesian, ig Igbo, is Icelandic, ka Georgian, kab Kabyle,
kk Kazakh, kmr Kurmanji, kn Kannada, ko Korean, ky Kyrgyz, lg Luganda, lij Ligurian, lt Lithuanian,
ltg Latgalian, lv Latvian, mhr Meadow_Mari, mk Macedonian, ml Malayalam, mn Mongolian, mr Marathi,
ms Malay, mt Maltese, ne Nepali, nn Nynorsk, no Norwegian, oc Occitan, or Odia, os Ossetian,
pa Punjabi, pl Polish, ps Pashto, pt Portuguese, quy Ayacucho_Quechua, rm Romansh, rw Kinyarwanda,
sah Yakut, sat Santali, sc Sardinian, sk Slovak, sl Slovenian, sq Albanian, sr Serbian, sv Swedish,
sw Swahili, ta Tamil, te Telugu, tg Tajik, ti Tigrinya, tk Turkmen, tl Tagalog, tok Toki_Pona,
tt Tatar, tw Twi, ug Uyghur, uk Ukrainian, ur Urdu, uz Uzbek, vi Vietnamese, xh Xhosa, yi Yiddish,
yo Yoruba, zgh Tamazight, zu Zulu"""

LANGUAGES = {language.code: language for language in _RULED}
PLAIN = {code: Language(code, name) for code, name in (each.split() for each in _PLAIN.split(","))}


def by_code(code: str) -> Language | None:
    """The language of a code; a region is let pass ("zh-CN" is "zh"). None: it is not known."""
    code = code.split("-")[0]
    return LANGUAGES.get(code) or PLAIN.get(code)
