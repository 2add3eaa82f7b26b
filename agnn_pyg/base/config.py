"""Settings: their defaults, ranges and documentation in one place."""

from __future__ import annotations

import functools
import hashlib
import inspect
import json
import os
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agnn_pyg.base.checks import nearest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

C = TypeVar('C', bound='Config')
E = TypeVar('E', bound='Estimator')

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
DropoutRate = Annotated[float, Ge(0), Lt(1)]

# What error texts and docstrings call the types and the bounds of a JSON schema.
_NOUNS = {
    'integer': ('a whole number', 'int'),
    'number': ('a number', 'float'),
    'boolean': ('True or False', 'bool'),
    'string': ('a text', 'str'),
    'array': ('a list', 'sequence'),
    'object': ('a mapping', 'dict'),
    'null': ('None', 'None'),
}
_BOUNDS = {
    'minimum': ('at least', '['),
    'exclusiveMinimum': ('above', '('),
    'maximum': ('at most', ']'),
    'exclusiveMaximum': ('below', ')'),
}


class Config(BaseModel):
    """Frozen settings with declared types, ranges and descriptions.

    Values are neither parsed from texts nor rounded. NumPy's numbers become Python's,
    and an ordered sequence becomes the :obj:`list` or :obj:`tuple` that is declared.
    The first line of a class's docstring is the title of its group of settings.
    """

    model_config = ConfigDict(
        frozen=True,
        extra='forbid',
        strict=True,
        validate_default=True,
        allow_inf_nan=False,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    def __init__(self, **settings: Any) -> None:
        cls = type(self)
        check_names(cls.__name__, settings, cls.model_fields)
        declared = {
            name: _as_python(value, _sequence(cls.model_fields[name].annotation))
            for name, value in settings.items()
        }
        try:
            super().__init__(**declared)
        except ValidationError as error:
            raise ValueError(_explain(cls, settings, error)) from None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # A subclass may declare another default, and need not describe it again.
        for name, field in cls.model_fields.items():
            for base in cls.__mro__[1:]:
                inherited = getattr(base, 'model_fields', {}).get(name)
                if field.description is None and inherited is not None:
                    field.description = inherited.description

    @classmethod
    def from_dict(cls: type[C], settings: Mapping[str, Any]) -> C:
        """A config from plain data, such as those of JSON."""
        return cls(**settings)

    @classmethod
    def from_toml(cls: type[C], path: str | os.PathLike) -> C:
        """A config from a TOML file, in which the text :obj:`"none"` is ``None``."""
        try:
            settings = tomllib.loads(Path(path).read_text(encoding='utf-8'))
            return cls(**_without_none(settings))
        except (OSError, ValueError) as error:
            raise ValueError(f"'{path}': {error}") from error

    def to_toml(self) -> str:
        """All settings as TOML, in their groups; the inverse of :meth:`from_toml`."""
        values, lines = self.model_dump(mode='json'), []
        for title, names in type(self).groups().items():
            lines += [f'# {title}', *(f'{n} = {_toml(values[n])}' for n in names), '']
        return '\n'.join(lines)

    def hash(self) -> str:
        """Twelve hexadecimal digits that stand for these settings."""
        text = json.dumps(self.model_dump(mode='json'), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The default of each setting that has one, in the order of the groups."""
        names = (name for group in cls.groups().values() for name in group)
        fields = ((name, cls.model_fields[name]) for name in names)
        return {n: f.get_default() for n, f in fields if not f.is_required()}

    @classmethod
    def groups(cls) -> dict[str, list[str]]:
        """Names of settings by the title of their group, its own group last."""
        rest, groups = dict(cls.model_fields), {}
        for part in (*cls.__mro__[1:], cls):
            names = [n for n in inspect.get_annotations(part) if rest.pop(n, None)]
            if names:
                title = inspect.cleandoc(part.__doc__ or part.__name__)
                groups.setdefault(title.splitlines()[0].rstrip('.'), []).extend(names)
        return groups

    @classmethod
    def arguments(cls) -> str:
        """The settings as a section :obj:`Args:` of a docstring."""
        schema, defaults = cls.model_json_schema()['properties'], cls.defaults()
        lines = ['Args:']
        for title, names in cls.groups().items():
            lines.append(f'    *{title}*\n')
            for name in names:
                default = defaults[name]
                default = f'"{default}"' if isinstance(default, str) else default
                text = (
                    f'    {name} ({_words(schema[name], short=True)}, optional): '
                    f'{cls.model_fields[name].description} (default: :obj:`{default}`)'
                )
                lines.append(textwrap.fill(text, 84, subsequent_indent=8 * ' '))
            lines.append('')
        return '\n'.join(lines)


class Estimator:
    """Keeps settings as attributes, in the manner of scikit-learn's estimators.

    A subclass names its :obj:`Config`, which signature and documentation come from. The
    constructor keeps settings as they are given; :attr:`config` validates them.
    """

    Config: ClassVar[type[Config]] = Config

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if 'Config' not in vars(cls):
            return
        cls.__signature__ = inspect.Signature(
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default)
            for name, default in cls.Config.defaults().items()
        )
        text, *rest = inspect.cleandoc(cls.__doc__ or '').partition('Attributes:\n')
        cls.__doc__ = f'{text.rstrip()}\n\n{cls.Config.arguments()}{"".join(rest)}'

    def __init__(self, **settings: Any) -> None:
        self.set_params(**self.Config.defaults() | settings)

    @classmethod
    def from_dict(cls: type[E], settings: Mapping[str, Any]) -> E:
        """An estimator from plain data, such as those of JSON."""
        return cls(**cls.Config(**settings).model_dump(exclude_unset=True))

    @property
    def config(self) -> Any:
        """The settings as a :obj:`Config`; ``ValueError`` if one is not as declared."""
        return self.Config(**self.get_params())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All settings by name; :obj:`deep` is scikit-learn's and changes nothing."""
        return {name: getattr(self, name) for name in self.Config.defaults()}

    def set_params(self: E, **settings: Any) -> E:
        """Changes settings, but nothing that is fitted.

        Settings of the training count from the next fit on. Settings that predictions
        use, such as names of columns, count at once. If a name is unknown, none is set.
        """
        check_names(type(self).__name__, settings, self.Config.model_fields)
        vars(self).update(settings)
        return self

    def __repr__(self) -> str:
        # Compared as texts: arrays would be compared entry by entry.
        defaults = self.Config.defaults()
        params = {name: repr(value) for name, value in self.get_params().items()}
        changed = [f'{n}={v}' for n, v in params.items() if v != repr(defaults[n])]
        return f'{type(self).__name__}({", ".join(changed)})'

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(None, TargetTags(required=False), input_tags=InputTags())


def check_argument(name: str, value: Any, annotation: Any) -> Any:
    """An argument of a function; ``ValueError`` if it is no :obj:`annotation`."""
    adapter, must = _adapter(annotation)
    try:
        return adapter.validate_python(_as_python(value, _sequence(annotation)))
    except ValidationError:
        raise ValueError(f"'{name}' must be {must} (got {value!r})") from None


def check_names(owner: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Raises ``ValueError`` if a name is unknown, naming the nearest known one."""
    for name in names:
        if name not in known:
            raise ValueError(
                f"{owner} has no setting '{name}'{nearest(name, known)} (it has "
                f'{", ".join(known)})'
            )


@functools.lru_cache(maxsize=256)
def _adapter(annotation: Any) -> tuple[TypeAdapter, str]:
    rules = ConfigDict(strict=True, allow_inf_nan=False)
    adapter = TypeAdapter(annotation, config=rules)
    return adapter, _words(adapter.json_schema())


def _as_python(value: Any, sequence: type | None) -> Any:
    """A value without types of NumPy and pandas, its sequences of one type."""
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {_as_python(k, None): _as_python(v, sequence) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return (sequence or type(value))(_as_python(v, sequence) for v in value)
    return value


def _sequence(annotation: Any) -> type | None:
    """The type of sequence that an annotation declares, if any."""
    if get_origin(annotation) in (list, tuple):
        return get_origin(annotation)
    return next(filter(None, map(_sequence, get_args(annotation))), None)


def _without_none(value: Any) -> Any:
    # TOML has no null.
    if isinstance(value, dict):
        return {key: _without_none(v) for key, v in value.items()}
    return None if value == 'none' else value


def _explain(
    cls: type[Config], settings: Mapping[str, Any], error: ValidationError
) -> str:
    """What is wrong with which setting, in a sentence."""
    # A rule of several settings, or of a config within this one, words its own error.
    first = min(error.errors(), key=lambda e: e['type'] != 'value_error')
    if not first['loc']:
        return str(first['ctx']['error'])
    name = first['loc'][0]
    if first['type'] == 'value_error':
        return f"'{name}': {first['ctx']['error']}"
    must = _words(cls.model_json_schema()['properties'][name])
    if name not in settings:
        return f"{cls.__name__} needs '{name}', which must be {must}"
    return f"'{name}' must be {must} (got {settings[name]!r})"


def _words(schema: Mapping[str, Any], short: bool = False) -> str:
    """What a JSON schema allows, to follow "must be" or, in short, in a docstring.

    An entry :obj:`"must"` of the schema replaces the words.
    """
    if 'must' in schema and not short:
        return schema['must']
    if 'anyOf' in schema:
        parts = [_words(part, short) for part in schema['anyOf']]
        if short:  # which says "optional"
            return ' or '.join(part for part in parts if part != 'None')
        return ', or '.join(parts)
    choices = schema.get('enum', [schema['const']] if 'const' in schema else ())
    if choices:
        return f'one of {", ".join(map(repr, choices))}'
    noun = _NOUNS[schema.get('type', 'object')][short]
    if 'prefixItems' in schema and not short:
        parts = [_words(part) for part in schema['prefixItems']]
        each = f'each {parts[0]}' if len({*parts}) == 1 else ', '.join(parts)
        return f'{noun} of {len(parts)}, {each}'
    if 'items' in schema and not short:
        least = 'at least one, ' if schema.get('minItems') else ''
        return f'{noun}, {least}each {_words(schema["items"])}'
    # Old versions of pydantic write whole bounds of numbers as floats.
    bounds = {
        words: (int(b) if b == int(b) else b, bracket)
        for key, (words, bracket) in _BOUNDS.items()
        if (b := schema.get(key)) is not None
    }
    if len(bounds) == 2:  # below and above
        (low, left), (high, right) = bounds.values()
        return f'{noun} in {left}{low}, {high}{right}'
    return noun + ''.join(f', {words} {b}' for words, (b, _) in bounds.items())


def _toml(value: Any) -> str:
    """Plain data as a value of TOML; ``None`` as the text :obj:`"none"`."""
    if isinstance(value, list):
        return f'[{", ".join(map(_toml, value))}]'
    if isinstance(value, dict):
        pairs = (f'{_toml(k)} = {_toml(v)}' for k, v in value.items())
        return f'{{ {", ".join(pairs)} }}'
    return json.dumps('none' if value is None else value, ensure_ascii=False)
