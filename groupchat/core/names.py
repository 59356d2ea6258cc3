"""The rules of nicknames, and the key under which two names are the same.

Names follow RFC 8266 (the Nickname profile of PRECIS). In addition, a client must not be able to take a name for
something else: a list of names, another member's line, a notice, a command, or a reply.

Which characters are allowed depends on the Unicode version of this Python, so a stored name is never checked again.
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
"""The longest name that is normalised to see if that makes it short enough."""

_SHOWN = get_profile("NicknameCasePreserved")
_KEY = get_profile("NicknameCaseMapped")
_BLANK = " \u2800"  # the braille pattern without dots is a symbol to RFC 8266
_RESERVED = ("close", IllegalMessage.reply.lower())


@dataclass(frozen=True, slots=True)
class Nickname:
    """A name as it is shown, and its key, which no two members share."""

    shown: str
    key: str


def nickname(raw: str) -> Nickname:
    """Return the nickname for `raw`. Raises IllegalMessage, saying why, if it is not allowed."""
    # The length is checked first, because the time that PRECIS takes grows with its square.
    if len(raw) > MAX_RAW_CHARACTERS or len(" ".join(normalize("NFKC", raw).split())) > MAX_CHARACTERS:
        raise IllegalMessage(f"A name has at most {MAX_CHARACTERS} characters.")
    shown = _enforce(_SHOWN, raw)
    key = _enforce(_KEY, shown)  # of `shown`, so that two names which look the same have the same key
    if len(shown) > MAX_CHARACTERS:
        raise IllegalMessage(f"A name has at most {MAX_CHARACTERS} characters.")
    if category(shown[0]).startswith("M") or not shown.strip(_BLANK):
        raise IllegalMessage("A name has to begin with a visible character.")
    if any(mark in shown for mark in ":,()") or shown[0] in "/#@*":
        raise IllegalMessage("A name has no : , ( or ) in it, and does not begin with / # @ or *.")
    if shown.isnumeric() or key in _RESERVED or any(phrase in key for phrase in PHRASES):
        raise IllegalMessage("That name could be taken for something else.")
    return Nickname(shown, key)


def _enforce(profile: Profile, raw: str) -> str:
    try:
        return profile.enforce(raw)
    except UnicodeEncodeError:
        raise IllegalMessage("That name is empty, or has characters that are not allowed in a name.") from None
