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


def flipped(content, rng):
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9) if content else 0):
        changed[_place(changed, rng)] ^= 1 << int(rng.integers(8))
    return bytes(changed)


def reworded(content, rng):
    words = list(WORD.finditer(content))
    if not words:
        return content
    start, end = words[rng.integers(len(words))].span()
    return content[:start] + _nasty(rng) + content[end:]


def spliced(middle):
    """Damage that puts something else in the place of a span of bytes."""

    def damage(content, rng):
        start = _place(content, rng)
        end = start + int(rng.integers(1, 65))
        return content[:start] + middle(content[start:end], rng) + content[end:]

    return damage


# Most kinds of damage would stop at the first look; words go deeper.
DAMAGES = (
    lambda content, rng: content[: _place(content, rng)],
    lambda content, rng: content[_place(content, rng) :],
    flipped,
    spliced(lambda span, rng: b'\0' * len(span)),
    spliced(lambda span, rng: b''),
    spliced(lambda span, rng: span * int(rng.integers(2, 5))),
    *2 * [spliced(lambda span, rng: _nasty(rng) + span)],
    *4 * [reworded],
)


def _nasty(rng):
    return NASTY[rng.integers(len(NASTY))]


def _place(content, rng):
    return int(rng.integers(max(1, len(content))))
