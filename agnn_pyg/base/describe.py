"""Settings in words, as a JSON schema declares them, and in TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# What error texts and docstrings call the types of a JSON schema.
NOUNS = {
    'integer': ('a whole number', 'int'),
    'number': ('a number', 'float'),
    'boolean': ('True or False', 'bool'),
    'string': ('a text', 'str'),
    'array': ('a list', 'sequence'),
    'object': ('a mapping', 'dict'),
    'null': ('None', 'None'),
}


def words(schema: Mapping[str, Any], short: bool = False) -> str:
    """What a JSON schema allows, to follow "must be" or, in short, in a docstring.

    An entry :obj:`"must"` of the schema replaces the words.
    """
    if 'must' in schema and not short:
        return schema['must']
    if 'anyOf' in schema:
        parts = [words(part, short) for part in schema['anyOf']]
        if short:  # which says "optional"
            return ' or '.join(part for part in parts if part != 'None')
        return ', or '.join(parts)
    choices = schema.get('enum', [schema['const']] if 'const' in schema else ())
    if choices:
        return f'one of {", ".join(map(repr, choices))}'
    noun = NOUNS[schema.get('type', 'object')][short]
    if 'prefixItems' in schema and not short:
        parts = [words(part) for part in schema['prefixItems']]
        each = f'each {parts[0]}' if len({*parts}) == 1 else ', '.join(parts)
        return f'{noun} of {len(parts)}, {each}'
    if 'items' in schema and not short:
        least = 'at least one, ' if schema.get('minItems') else ''
        return f'{noun}, {least}each {words(schema["items"])}'
    return noun + _bounds(schema)


def toml(value: Any) -> str:
    """Plain data as a value of TOML; ``None`` as the text :obj:`"none"`."""
    if isinstance(value, list):
        return f'[{", ".join(map(toml, value))}]'
    if isinstance(value, dict):
        return f'{{ {", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items())} }}'
    return json.dumps('none' if value is None else value, ensure_ascii=False)


def _bounds(schema: Mapping[str, Any]) -> str:
    names = 'minimum', 'exclusiveMinimum', 'maximum', 'exclusiveMaximum'
    # Old versions of pydantic write whole bounds of numbers as floats.
    low, above, high, below = (
        int(b) if b is not None and b == int(b) else b for b in map(schema.get, names)
    )
    bottom, top = (low if above is None else above), (high if below is None else below)
    if bottom is not None and top is not None:
        left, right = '[' if above is None else '(', ']' if below is None else ')'
        return f' in {left}{bottom}, {top}{right}'
    bounds = {'at least': low, 'above': above, 'at most': high, 'below': below}
    return ''.join(f', {text} {b}' for text, b in bounds.items() if b is not None)
