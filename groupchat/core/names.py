"""What a nickname may be, and the key under which two names are the same.

Names follow RFC 8266 (the Nickname profile of PRECIS). Beyond it, a name may be nothing that a client could take for
something else: not a list of names, not another member's line, not a notice, not a command, not a reply.

The characters allowed follow the Unicode version of the Python that runs this: a stored name is never checked again.
"""

from __future__ import annotations

from dataclasses import dataclass
from unicodedata import category, normalize

from precis_i18n import get_profile
from precis_i18n.profile import Profile

from groupchat.core.errors import IllegalMessage
from groupchat.core.notices import PHRASES

MAX_CHARACTERS = 32
MAX_RAW_CHARACTERS = 4 * MAX_CHARACTERS
"""The most that is looked at: normalising can shorten a name, but not without end."""

_SHOWN = get_profile("NicknameCasePreserved")
_KEY = get_profile("NicknameCaseMapped")
_BLANK = " \u2800"  # the braille pattern without dots is a symbol to RFC 8266
_RESERVED = ("close", IllegalMessage.reply.lower())


@dataclass(frozen=True, slots=True)
class Nickname:
    """A name as it is shown, and the key that no two members share."""

    shown: str
    key: str


def nickname(raw: str) -> Nickname:
    """The nickname that `raw` stands for. Raises IllegalMessage for what may not be one, saying why."""
    # Measured first as PRECIS will leave it, because what PRECIS takes grows with the square of the length.
    if len(raw) > MAX_RAW_CHARACTERS or len(" ".join(normalize("NFKC", raw).split())) > MAX_CHARACTERS:
        raise IllegalMessage(f"A name has at most {MAX_CHARACTERS} characters.")
    shown = _enforce(_SHOWN, raw)
    key = _enforce(_KEY, shown)  # of what is shown, so that no two that look the same have two keys
    if len(shown) > MAX_CHARACTERS:
        raise IllegalMessage(f"A name has at most {MAX_CHARACTERS} characters.")
    if category(shown[0]).startswith("M") or not shown.strip(_BLANK):
        raise IllegalMessage("A name begins with something that can be seen.")
    if any(mark in shown for mark in ":,()") or shown[0] in "/#@*":
        raise IllegalMessage("A name has no : , ( or ) in it, and does not begin with / # @ or *.")
    if shown.isnumeric() or key in _RESERVED or any(phrase in key for phrase in PHRASES):
        raise IllegalMessage("That name could be taken for something else.")
    return Nickname(shown, key)


def _enforce(profile: Profile, raw: str) -> str:
    try:
        return profile.enforce(raw)
    except UnicodeEncodeError:
        raise IllegalMessage("That name is empty, or has characters in it that a name may not have.") from None
