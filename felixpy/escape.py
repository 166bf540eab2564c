"""Text from outside, made safe for the place where it is printed. One function for each kind of output.

Names, labels, paths of files, lines of dumps and excerpts of manifests are written by others. Printed as they are, a
control character in them moves a terminal's cursor, a newline begins a rule of its own in a text for iptables-restore,
and a backtick ends a code span in the comment on a pull request. Every function here returns text of a single line,
whatever it was given, and leaves harmless text unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Categories of characters that a terminal obeys, reorders text by, takes for the end of a line or cannot show."""

_COMMAND = re.compile(r"^(\s*)(?=::[A-Za-z][A-Za-z-]*(?:\s[^\n]*)?::)")
"""The start of a workflow command. An address such as ``::1`` is none.
(actions/runner, src/Runner.Common/ActionCommand.cs)"""

_OLD_COMMAND = "##["
"""The older spelling of workflow commands, which counts anywhere in a line."""

_FORMULA = ("=", "+", "-", "@")
"""What a spreadsheet takes for the beginning of a formula. (OWASP, CSV injection)"""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~@&:-])")


def visible(text: str) -> str:
    """Control characters, line ends, and characters that reorder or hide text, each as a Python escape.

    >>> visible("a\\nb\\x1b[31m"), visible("größer")
    ('a\\\\nb\\\\x1b[31m', 'größer')
    """
    if text.isprintable():
        return text
    return "".join(_character(one) for one in text)


def _character(one: str) -> str:
    if one in _SHORT:
        return _SHORT[one]
    if unicodedata.category(one) not in _INVISIBLE:
        return one
    number = ord(one)
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"


def terminal(line: str) -> str:
    """One line for a terminal or the log of a CI job, where no line may be a workflow command.

    >>> terminal("::error file=x::forged"), terminal("::/0 => shop/web : All")
    ('\\\\::error file=x::forged', '::/0 => shop/web : All')
    """
    shown = visible(line)
    if ":" in shown[:80] and _COMMAND.match(shown):
        shown = _COMMAND.sub(r"\1\\", shown)
    return shown.replace(_OLD_COMMAND, "#\\#[") if _OLD_COMMAND in shown else shown


def comment(text: str) -> str:
    """One line of a text for iptables-restore, ipset restore or nft that begins with "#".

    >>> comment("x\\n-I INPUT -j ACCEPT")
    '# x\\\\n-I INPUT -j ACCEPT'
    """
    return f"# {terminal(text)}"


def json_text(text: str) -> str:
    """A JSON document: what `visible` escapes, as JSON escapes it. C0 characters are taken for layout and stay.

    >>> json_text('"a\\x9b"')
    '"a\\\\u009b"'
    """
    if text.isascii() and "\x7f" not in text:
        return text
    return "".join(_json_character(one) if one > "~" else one for one in text)


def _json_character(one: str) -> str:
    if unicodedata.category(one) not in _INVISIBLE:
        return one
    number = ord(one)
    if number < 0x10000:
        return f"\\u{number:04x}"
    high, low = divmod(number - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def xml(text: str) -> str:
    """Text or the value of an attribute in XML, SVG and HTML.

    >>> xml("<b>\\x00")
    '&lt;b&gt;\\\\x00'
    """
    from html import escape  # with all of HTML's names of characters, which few commands need

    return escape(visible(text))


def dot(text: str) -> str:
    """A string of Graphviz' language, quoted; ``\\n`` in it is shown, not a line break.

    >>> dot("a") == '"a"'
    True
    """
    quoted = visible(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def cell(text: str) -> str:
    """One cell of CSV (RFC 4180), which no spreadsheet takes for a formula.

    >>> print(cell('a, "b".'), cell("=1+1"))
    "a, ""b""." '=1+1
    """
    shown = visible(text)
    if shown.startswith(_FORMULA):
        shown = f"'{shown}"
    if any(sign in shown for sign in ',"'):
        doubled = shown.replace('"', '""')
        return f'"{doubled}"'
    return shown


def markdown(text: str) -> str:
    """Plain words in Markdown: no emphasis, link, image, HTML, table cell or mention comes of them.

    >>> markdown("[x](http://e) @team")
    '\\\\[x\\\\]\\\\(http\\\\:\\u200b//e\\\\) \\\\@\\u200bteam'
    """
    shown = _MARKDOWN.sub(r"\\\1", visible(text))
    # GitHub finds mentions and bare addresses in what Markdown has become; a space of no width keeps them apart.
    return shown.replace("\\@", "\\@\u200b").replace("\\://", "\\:\u200b//").replace("www.", "www\u200b.")


def code(text: str) -> str:
    """A code span in Markdown, also inside of a table: nothing in it is markup or a mention.

    >>> code("shop/web"), code("a|b `c`")
    ('`shop/web`', '`` a\\\\|b `c` ``')
    """
    shown = visible(text).replace("|", "\\|") or " "
    fence = "`" * (_longest(shown, "`") + 1)
    # A backtick at either end needs a blank beside the fence, which Markdown takes away again on both sides.
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def fenced(lines: Iterable[str], language: str = "") -> Iterator[str]:
    """A block of code in Markdown, with a fence that no line in it can close."""
    shown = [visible(line) for line in lines]
    fence = "`" * max(3, 1 + max((_longest(line, "`") for line in shown), default=0))
    yield f"{fence}{language}"
    yield from shown
    yield fence


def _longest(text: str, sign: str) -> int:
    return max((len(run) for run in re.findall(f"{re.escape(sign)}+", text)), default=0)


def command_data(text: str) -> str:
    """The message of a GitHub workflow command such as ``::error::``. Line ends stay: they are shown as such.

    >>> command_data("100%\\nsure")
    '100%25%0Asure'
    """
    shown = "\n".join(map(visible, re.split("\r\n|\r|\n", text)))
    return shown.replace("%", "%25").replace("\n", "%0A")


def command_property(text: str) -> str:
    """The value of a property of a workflow command, such as ``file=``.

    >>> command_property("a,b:c")
    'a%2Cb%3Ac'
    """
    return visible(text).replace("%", "%25").replace(":", "%3A").replace(",", "%2C")


def shell_word(text: str) -> str:
    """A word of a command that somebody may copy into a shell.

    >>> print(shell_word("a $(here)"))
    'a $(here)'
    """
    from shlex import quote

    return quote(visible(text))
