"""Settings in words, as a JSON schema declares them, and in TOML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

# What error texts and docstrings call the types of a JSON schema.
ERRORS = {
    'integer': 'a whole number',
    'number': 'a number',
    'boolean': 'True or False',
    'string': 'a text',
    'array': 'a list',
    'object': 'a mapping',
    'null': 'None',
}
DOCS = {
    'integer': 'int',
    'number': 'float',
    'boolean': 'bool',
    'string': 'str',
    'array': 'sequence',
    'object': 'dict',
    'null': 'None',
}


def words(schema: Mapping[str, Any], nouns: Mapping[str, str] = ERRORS) -> str:
    """What a JSON schema allows, to follow "must be".

    Args:
        schema (mapping): Of one setting. Its entry :obj:`"must"` replaces the words.
        nouns (mapping, optional): What types are called. (default: as in error texts)
    """
    whole = nouns is ERRORS
    if 'must' in schema and whole:
        return schema['must']
    if 'anyOf' in schema:
        parts = (words(part, nouns) for part in schema['anyOf'])
        return (', or ' if whole else ' or ').join(parts)
    choices = schema.get('enum', [schema['const']] if 'const' in schema else ())
    if choices:
        return f'one of {", ".join(map(repr, choices))}'
    noun = nouns[schema.get('type', 'object')]
    if 'prefixItems' in schema and whole:
        parts = [words(part) for part in schema['prefixItems']]
        each = f'each {parts[0]}' if len({*parts}) == 1 else ', '.join(parts)
        return f'{noun} of {len(parts)}, {each}'
    if 'items' in schema and whole:
        least = 'at least one, ' if schema.get('minItems') else ''
        return f'{noun}, {least}each {words(schema["items"])}'
    return noun + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    low, above = schema.get('minimum'), schema.get('exclusiveMinimum')
    high, below = schema.get('maximum'), schema.get('exclusiveMaximum')
    bottom = low if above is None else above
    top = high if below is None else below
    if bottom is not None and top is not None:
        left, right = '[' if above is None else '(', ']' if below is None else ')'
        return f' in {left}{bottom}, {top}{right}'
    bounds = {'at least': low, 'above': above, 'at most': high, 'below': below}
    return ''.join(f', {text} {b}' for text, b in bounds.items() if b is not None)


def toml(value: Any) -> str:
    """Plain data as a value of TOML; ``None`` as the text :obj:`"none"`."""
    if isinstance(value, list):
        return f'[{", ".join(map(toml, value))}]'
    if isinstance(value, dict):
        return f'{{ {", ".join(f"{toml(k)} = {toml(v)}" for k, v in value.items())} }}'
    return json.dumps('none' if value is None else value, ensure_ascii=False)
