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
        damage = DAMAGES[rng.integers(len(DAMAGES))]
        content = damage(content, rng)
    return content


def truncated(content, rng):
    return content[: _place(content, rng)]


def beheaded(content, rng):
    return content[_place(content, rng) :]


def flipped(content, rng):
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9)):
        if changed:
            changed[_place(changed, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def zeroed(content, rng):
    start, end = _span(content, rng)
    return content[:start] + b'\0' * (end - start) + content[end:]


def dropped(content, rng):
    start, end = _span(content, rng)
    return content[:start] + content[end:]


def repeated(content, rng):
    start, end = _span(content, rng)
    return content[:end] + content[start:end] * int(rng.integers(1, 4)) + content[end:]


def inserted(content, rng):
    place = _place(content, rng)
    return content[:place] + _nasty(rng) + content[place:]


def reworded(content, rng):
    words = list(WORD.finditer(content))
    if not words:
        return content
    word = words[rng.integers(len(words))]
    return content[: word.start()] + _nasty(rng) + content[word.end() :]


# Most kinds of damage would stop at the first look; words go deeper.
DAMAGES = (truncated, beheaded, flipped, zeroed, dropped, repeated, inserted)
DAMAGES += (inserted, reworded, reworded, reworded, reworded)


def _nasty(rng):
    return NASTY[rng.integers(len(NASTY))]


def _place(content, rng):
    return int(rng.integers(max(1, len(content))))


def _span(content, rng):
    start = _place(content, rng)
    return start, start + int(rng.integers(1, 65))
