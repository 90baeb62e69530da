"""What can go wrong, as one tree::

    EchoServersError
    +-- UnknownMode           no mode, model or alias has this name
    +-- ModeNotAvailable      the mode exists, but not on this system
    +-- HandlerNotSupported   the handler cannot run in this mode
    +-- OptionError           an option that the mode does not have, or a bad value
    +-- EndpointError         an endpoint or address that cannot be understood
    +-- TargetError           a server to be looked at cannot be started or reached
    +-- FramingError          the peer broke the framing; ends that one connection
        +-- MessageTooLong    longer than ``max_message_size``
        +-- IncompleteMessage the stream ended inside a message

Every message says what was wrong and what would be right.  Faults of the
operating system (address in use, no permission) stay the ``OSError`` they are.
"""

__all__ = [
    "EchoServersError",
    "EndpointError",
    "FramingError",
    "HandlerNotSupported",
    "IncompleteMessage",
    "MessageTooLong",
    "ModeNotAvailable",
    "OptionError",
    "TargetError",
    "UnknownMode",
]


class EchoServersError(Exception):
    """Base of everything that this package raises on its own account."""


class UnknownMode(EchoServersError, LookupError):
    """No mode, model or alias has this name; the message lists near ones."""


class ModeNotAvailable(EchoServersError):
    """The mode exists, but this system cannot run it; the message says why."""


class HandlerNotSupported(EchoServersError, TypeError):
    """The handler cannot run in this mode; the message says what to change."""


class OptionError(EchoServersError, ValueError):
    """An unknown option or a bad value; the message lists what is accepted."""


class EndpointError(EchoServersError, ValueError):
    """An endpoint or address that cannot be understood."""


class TargetError(EchoServersError):
    """A target could not be started or reached; the message has its own last words."""


class FramingError(EchoServersError):
    """The peer sent what the framing does not allow; its connection ends."""


class MessageTooLong(FramingError):
    """A message is longer than ``max_message_size`` bytes."""


class IncompleteMessage(FramingError):
    """The stream ended in the middle of a message."""
