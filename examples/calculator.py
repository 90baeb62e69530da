r"""A calculator: one line, one sum, one answer.

Shows: `LineFraming` cuts lines out of the stream, and `respond` does no I/O, so the same class
serves in a thread, a loop or a coroutine: change the mode and nothing else.

    $ python examples/calculator.py
    $ printf '2 + 3 * 4\nquit\n' | python -m echoservers client tcp://127.0.0.1:8007
    14
    bye
"""

import ast
import operator
import sys
from contextlib import suppress

from echoservers import EchoHandler, LineFraming, create_server

OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
}  # no power: 9 ** 9 ** 9 would hold up every client of a loop


def value_of(node: ast.expr) -> float:
    """What an expression of numbers and + - * / ( ) comes to; ValueError: it is none."""
    match node:
        case ast.Constant(value=int() | float() as number):
            return number
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -value_of(operand)
        case ast.BinOp(left=left, op=op, right=right) if type(op) in OPERATORS:
            return OPERATORS[type(op)](value_of(left), value_of(right))
    raise ValueError("only numbers, + - * / and ( )")


class Calculator(EchoHandler):
    framing_class = LineFraming
    max_message_size = 1000  # bytes: a longer sum nests deeper than Python's parser goes

    def respond(self, message: bytes) -> bytes:
        if message == b"quit":
            self.close_after_reply()
            return b"bye"
        try:
            return str(value_of(ast.parse(message, mode="eval").body)).encode()
        except (ArithmeticError, MemoryError, RecursionError, SyntaxError, ValueError) as error:
            return f"error: {str(error) or 'too deep'}".encode()  # the parser's stack is full


if __name__ == "__main__":
    mode, port = (*sys.argv[1:], "threading-tcp", "8007")[:2]
    server = create_server(mode, ("127.0.0.1", int(port)), Calculator)
    with server, suppress(KeyboardInterrupt):
        print(f"calculator listening on {server.endpoint()}", flush=True)
        server.serve_forever()
