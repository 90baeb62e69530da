"""Checks: the bytes come back as they went.

But for the first, they look for what was sent in what comes back: a server that sends
something more around it fails the first, and the others tell what it does with the bytes.
"""

from .engine import BOTH, RFC_862, check
from .subject import Subject


@check(RFC_862, BOTH)
def echo(subject: Subject) -> None:
    """What is sent comes back: all of it, and nothing before it."""
    subject.connect().echo(b"hello\n", last=True)


@check(RFC_862, BOTH)
def every_value(subject: Subject) -> None:
    """Each of the 256 byte values comes back as it was sent."""
    subject.connect().ask(b"".join(b"(%c)" % value for value in range(256)) + b"\n")


@check(RFC_862, BOTH)
def nul(subject: Subject) -> None:
    """NUL bytes come back, and so does what stands behind them: they end nothing."""
    subject.connect().ask(b"before\0after\0\0end\n")


@check(RFC_862, BOTH)
def broken_utf_8(subject: Subject) -> None:
    """Bytes that are not valid UTF-8 come back unchanged: a server has no reason to decode."""
    # A byte that never occurs, a lone continuation, an overlong slash, a cut sequence, a
    # surrogate: Unicode 15, table 3-7.
    subject.connect().ask(b"a\xfeb\x80c\xc0\xafd\xe2\x82e\xed\xa0\x80f\n")


@check(RFC_862, BOTH)
def line_ends(subject: Subject) -> None:
    """CR, LF and CR LF come back as they were sent: no end of a line is made another."""
    subject.connect().ask(b"one\rtwo\nthree\r\nfour\n\rfive\n")


@check(RFC_862, BOTH)
def white_space(subject: Subject) -> None:
    """Blanks and tabs at the beginning and the end of a line come back."""
    subject.connect().ask(b" \t begin and end \t \n")


@check(RFC_862, BOTH)
def letters(subject: Subject) -> None:
    """Text in other scripts comes back, and so do capitals and small letters as they are."""
    subject.connect().ask("Größe, naïve, Ελλάδα, Привет, 你好, 🙂 e\u0301\n".encode())


@check("CWE-134", BOTH)
def format_signs(subject: Subject) -> None:
    """What means something to printf, a shell or a template comes back and does nothing."""
    subject.connect().ask(b"100% %s%s%s%n %x %5d {0} {} $HOME $(id) `id` \\n \\x41 \\ <b> ' \"\n")


@check(RFC_862)
def empty_lines(subject: Subject) -> None:
    """An empty line comes back, and so does what is sent after it: it ends nothing."""
    peer = subject.dialogue()
    for message in (b"\n", b"hello again\n"):
        peer.say(message)
        peer.hear(message)


@check(RFC_862)
def no_commands(subject: Subject) -> None:
    """No message is a command: after quit, exit, bye, shutdown or a dot the echo goes on."""
    peer = subject.dialogue()
    for word in (b"quit", b"exit", b"bye", b"close", b"QUIT", b"EXIT", b"shutdown", b"stop", b"."):
        peer.say(word + b"\n")
        peer.hear(word + b"\n")
    peer.say(b"hello again\n")
    peer.hear(b"hello again\n")


@check("RFC 9293, 3.9.1")
def split_characters(subject: Subject) -> None:
    """A character of several bytes that arrives in two pieces comes back whole."""
    pieces = [b"two: \xc3", b"\xa9, three: \xe2\x82", b"\xac, four: \xf0\x9f", b"\x99\x82\n"]
    peer = subject.connect()
    peer.trickle(pieces)
    peer.hear(b"".join(pieces), last=True)
