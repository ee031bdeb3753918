"""Another's text with nothing hidden in it, for a person who decides by what it says.

What cannot be seen, steers the terminal, or looks like a space and is none is spelled out, as `\\u200b`.
"""

import unicodedata
from collections.abc import Iterator

from qoder_cli.base import jsontext

_SHORT = {"\n": "\\n", "\t": "\\t", "\r": "\\r"}
# Categories of characters that have no picture: controls, formats, unassigned, private, surrogates, separators.
_WITHOUT_PICTURE = ("Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp")
# Pictures that are empty, though their category does not say so: Hangul fillers, Khmer inherent vowels, Mongolian and
# other variation selectors, the joiner of graphemes, the blank of braille, the place of an object, the empty note, the
# filler of Khitan.
_EMPTY = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0\ufffc\U0001d159\U00016fe4")
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
_MARKS = ("Mn", "Mc", "Me")
_MOST_MARKS = 3  # on one letter; more cover what stands around it
# Hebrew and the scripts behind it write vowels as marks of their own; those for any letter begin elsewhere.
_FIRST_WITH_MARKS = 0x0590
_FOR_ANY_LETTER = (range(0x1AB0, 0x1B00), range(0x1DC0, 0x1E00), range(0x20D0, 0x2100), range(0xFE20, 0xFE30))


def visible(text: str) -> str:
    """Return a text with all that hides or steers spelled out."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(pictures(text))


def quoted(text: str) -> str:
    """Return another's text in quotation marks that it cannot close."""
    return visible(jsontext.dump(text))


def pictures(text: str) -> Iterator[str]:
    """Yield what is shown of a text: a letter with its marks, another character, or one spelled out."""
    shown = ""  # what is about to be yielded
    marks = 0  # on it
    for character in text:
        if marks < _MOST_MARKS and _may_mark(character, shown):
            shown, marks = shown + character, marks + 1
            continue
        if shown:
            yield shown
        shown, marks = character, 0
        if hides(character) or unicodedata.category(character) in _MARKS:
            shown = _SHORT.get(character) or (
                f"\\u{ord(character):04x}" if ord(character) < 0x10000 else f"\\U{ord(character):08x}"
            )
    if shown:
        yield shown


def widest(picture: str) -> int:
    """Return how many columns a picture takes at most: terminals differ about what is not a letter or ambiguous."""
    if picture.isascii():
        return len(picture)
    from rich.cells import cell_len

    is_doubtful = unicodedata.east_asian_width(picture[0]) in "AFW" or not picture[0].isalnum()
    return max(cell_len(picture), 2 if is_doubtful else 1)


def _may_mark(mark: str, letter: str) -> bool:
    """Return whether a mark belongs on a letter, by Unicode or by the letter's script; elsewhere it would cover it."""
    if unicodedata.category(mark) not in ("Mn", "Mc") or _is_empty(mark) or not letter[:1].isalpha():
        return False
    is_of_a_script = ord(mark) >= _FIRST_WITH_MARKS and not any(ord(mark) in those for those in _FOR_ANY_LETTER)
    both_are = is_of_a_script and ord(letter[0]) >= _FIRST_WITH_MARKS
    return both_are or len(unicodedata.normalize("NFC", letter + mark)) == 1


def hides(character: str) -> bool:
    """Return whether a character has no picture, or looks like a space and is none."""
    category = unicodedata.category(character)
    is_blank = category == "Zs" and character != " "
    return is_blank or category in _WITHOUT_PICTURE or _is_empty(character)


def _is_empty(character: str) -> bool:
    return character in _EMPTY or any(ord(character) in those for those in _SELECTORS)
