"""Seeded damage to the bytes of a file."""

import re

import numpy as np

# What stands in a file by accident or by malice.
NASTY = (
    *(b'', b'\0', b'\0\0\0\0', b'-1', b'0', b'nan', b'inf', b'-inf', b'None', b'true'),
    *(b'1e400', b'-1e309', b'9' * 25, b'9' * 5000, b'0x10', b'1_000', b'4.5', b'1e9'),
    *(b'99999999', b'4294967296', b'9223372036854775808', b'\xff\xfe', b'\xed\xa0\x80'),
    *(b'"', b"'", b'""', b'\\', b'\\ud800', b',', b'\t', b'\n', b'\r', b'\r\n', b'::'),
    *(b'[', b']', b'{', b'}', b'[[[[', b'{}', b'[]', b'=', b'../../outside', b'/etc'),
    *('ä'.encode(), '\u202e'.encode(), b'\xef\xbb\xbf', b'{"a": 1}', b'[1, [2]]'),
)
WORD = re.compile(rb'[\w.+-]+')


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """The content after one to three kinds of damage, drawn at random."""
    for _ in range(rng.integers(1, 4)):
        start = int(rng.integers(max(1, len(content))))
        end = start + int(rng.integers(1, 65))
        words, kind = list(WORD.finditer(content)), rng.integers(10)
        if words and kind < 4:  # which goes deepest into a reader
            start, end = words[rng.integers(len(words))].span()
        span, nasty = content[start:end], NASTY[rng.integers(len(NASTY))]
        flipped = bytes(byte ^ (1 << int(rng.integers(8))) for byte in span[:8])
        middle = [*4 * [nasty], nasty + span, b'', b'\0' * len(span), 3 * span]
        middle = [*middle, flipped + span[8:], None][kind]
        if middle is None:  # the beginning, or the end
            content = content[:start] if rng.random() < 0.5 else content[start:]
        else:
            content = content[:start] + middle + content[end:]
    return content
