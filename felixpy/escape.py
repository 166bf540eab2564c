"""Escaping of untrusted text for the place where it is printed. One function for each kind of output.

Names, labels, paths of files, lines of dumps and excerpts of manifests come from others. Unescaped, a control character
in them moves a terminal's cursor, a newline starts another rule in a text for iptables-restore, and a backtick ends a
code span in a comment on a pull request. Every function here returns a single line, whatever the input, and leaves
harmless text unchanged.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}

_INVISIBLE = frozenset({"Cc", "Cf", "Cn", "Co", "Cs", "Zl", "Zp"})
"""Unicode categories of characters that control a terminal, reorder text, end a line or cannot be shown."""

_COMMAND = re.compile(r"^(\s*)(?=::[A-Za-z][A-Za-z-]*(?:\s[^\n]*)?::)")
"""The start of a workflow command. An address such as ``::1`` is none.
(actions/runner, src/Runner.Common/ActionCommand.cs)"""

_OLD_COMMAND = "##["
"""The older spelling of workflow commands, which counts anywhere in a line."""

_FORMULA = ("=", "+", "-", "@")
"""Characters with which a formula begins in spreadsheets. (OWASP, CSV injection)"""

_MARKDOWN = re.compile(r"([\\`*_{}\[\]()#+!|<>~@&:-])")


def visible(text: str) -> str:
    """Text with control characters, line ends, and characters that reorder or hide text written as Python escapes.

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
    """A comment line, beginning with "#", for iptables-restore, ipset restore or nft.

    >>> comment("x\\n-I INPUT -j ACCEPT")
    '# x\\\\n-I INPUT -j ACCEPT'
    """
    return f"# {terminal(text)}"


def json_text(text: str) -> str:
    """A JSON document with the characters that `visible` escapes as JSON escapes; C0 characters are layout and stay.

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
    """Text for content or an attribute value in XML, SVG and HTML.

    >>> xml("<b>\\x00")
    '&lt;b&gt;\\\\x00'
    """
    from html import escape  # with all of HTML's names of characters, which few commands need

    return escape(visible(text))


def dot(text: str) -> str:
    """A quoted string for Graphviz; ``\\n`` in it is shown literally, not as a line break.

    >>> dot("a") == '"a"'
    True
    """
    quoted = visible(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def cell(text: str) -> str:
    """A cell of CSV (RFC 4180) that no spreadsheet treats as a formula.

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
    """Markdown text in which nothing becomes emphasis, a link, an image, HTML, a table cell or a mention.

    >>> markdown("[x](http://e) @team")
    '\\\\[x\\\\]\\\\(http\\\\:\\u200b//e\\\\) \\\\@\\u200bteam'
    """
    shown = _MARKDOWN.sub(r"\\\1", visible(text))
    # GitHub finds mentions and bare URLs in the rendered text; a zero-width space breaks them.
    return shown.replace("\\@", "\\@\u200b").replace("\\://", "\\:\u200b//").replace("www.", "www\u200b.")


def code(text: str) -> str:
    """A code span in Markdown, valid inside a table, too: nothing in it is markup or a mention.

    >>> code("shop/web"), code("a|b `c`")
    ('`shop/web`', '`` a\\\\|b `c` ``')
    """
    shown = visible(text).replace("|", "\\|") or " "
    fence = "`" * (_longest(shown, "`") + 1)
    # A backtick at either end needs a space next to the fence; Markdown removes it on both sides.
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def fenced(lines: Iterable[str], language: str = "") -> Iterator[str]:
    """The lines of a Markdown code block, with a fence that no line in it can close."""
    shown = [visible(line) for line in lines]
    fence = "`" * max(3, 1 + max((_longest(line, "`") for line in shown), default=0))
    yield f"{fence}{language}"
    yield from shown
    yield fence


def _longest(text: str, sign: str) -> int:
    return max((len(run) for run in re.findall(f"{re.escape(sign)}+", text)), default=0)


def command_data(text: str) -> str:
    """The message of a GitHub workflow command such as ``::error::``. Line ends are kept and shown as such.

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
