"""Settings with declared types, and estimators that take and document them."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import textwrap
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, TypeVar, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from agnn_pyg.base.checks import nearest, shown

C = TypeVar('C', bound='Config')
E = TypeVar('E', bound='Estimator')

PositiveInt = Annotated[int, Ge(1)]
NonNegativeInt = Annotated[int, Ge(0)]
Seed = Annotated[int, Ge(0), Lt(2**63)]
PositiveFloat = Annotated[float, Gt(0)]
# Above 1, a step of Adam is larger than typical weights.
LearningRate = Annotated[float, Gt(0), Le(1)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
DropoutRate = Annotated[float, Ge(0), Lt(1)]

STRICT = ConfigDict(strict=True, allow_inf_nan=False)
_adapter = functools.lru_cache(functools.partial(TypeAdapter, config=STRICT))
# Words of docstrings for the types and bounds of a JSON schema.
_TYPES = {
    'integer': 'int',
    'number': 'float',
    'boolean': 'bool',
    'string': 'str',
    'array': 'sequence',
    'object': 'dict',
    'null': '',
}
_BOUNDS = {
    'minimum': 'at least',
    'exclusiveMinimum': 'above',
    'maximum': 'at most',
    'exclusiveMaximum': 'below',
}


class Config(BaseModel):
    """Frozen settings with declared types, ranges and descriptions.

    Values are not parsed from texts and not rounded. NumPy numbers become Python
    numbers, and a sequence becomes the declared :obj:`list` or :obj:`tuple`. The first
    line of a class's docstring is the title of its group of settings.

    Attributes:
        tuned_first: Names of the settings to tune first.
    """

    tuned_first: ClassVar[tuple[str, ...]] = ()
    model_config = STRICT | ConfigDict(
        frozen=True,
        extra='forbid',
        validate_default=True,
        protected_namespaces=(),
        use_attribute_docstrings=True,
    )

    def __init__(self, **settings: Any) -> None:
        try:
            super().__init__(**self.as_python(settings))
        except ValidationError as error:
            raise ValueError(_explain(type(self), settings, error)) from None

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        # A subclass may change a default without repeating the description.
        for name, field in cls.model_fields.items():
            for base in cls.__mro__[1:]:
                inherited = getattr(base, 'model_fields', {}).get(name)
                if field.description is None and inherited is not None:
                    field.description = inherited.description

    @classmethod
    def as_python(cls, settings: Mapping[str, Any]) -> dict[str, Any]:
        """Settings without NumPy types; ``ValueError`` if a name is unknown."""
        known = cls.model_fields
        for name in settings:
            if name not in known:
                raise ValueError(
                    f"{cls.__name__.removesuffix('Config')} has no setting '{name}'"
                    f'{nearest(name, known)}'
                )
        return {n: _as_python(v, known[n].annotation) for n, v in settings.items()}

    @classmethod
    def defaults(cls) -> dict[str, Any]:
        """The defaults of the settings, in the order of the groups."""
        made = vars(cls.model_construct())
        return {n: made[n] for part in cls.groups().values() for n in part if n in made}

    def part(self, group: type[C]) -> C:
        """The settings of one group, as an object of its class."""
        return group(**self.subset(*group.model_fields))

    def subset(self, *names: str) -> dict[str, Any]:
        """Some settings by name."""
        return {name: getattr(self, name) for name in names}

    @classmethod
    def groups(cls) -> dict[str, list[str]]:
        """Names of settings by the title of their group; the class's own come last."""
        rest = dict(cls.model_fields)
        groups = {}
        if cls.tuned_first:
            groups['To tune first'] = [n for n in cls.tuned_first if rest.pop(n)]
        for part in (*cls.__mro__[1:], cls):
            names = [n for n in inspect.get_annotations(part) if rest.pop(n, None)]
            if names:
                title = inspect.cleandoc(part.__doc__ or part.__name__)
                groups.setdefault(title.splitlines()[0].rstrip('.'), []).extend(names)
        return groups

    @classmethod
    def arguments(cls) -> str:
        """The section :obj:`Args:` of a docstring for the settings."""
        schema = cls.model_json_schema()['properties']
        defaults = cls.defaults()
        lines = ['Args:']
        for title, names in cls.groups().items():
            lines.append(f'    *{title}*\n')
            for name in names:
                field = cls.model_fields[name]
                default = defaults[name]
                default = f'"{default}"' if isinstance(default, str) else default
                text = f'    {name} ({_type(schema[name])}, optional): '
                text += field.description
                if field.default_factory is None:  # a factory depends on the machine
                    text += f' (default: :obj:`{default}`)'
                lines.append(textwrap.fill(text, 84, subsequent_indent=8 * ' '))
            lines.append('')
        return '\n'.join(lines)


class Estimator:
    """Base class that stores settings as attributes, as estimators of scikit-learn do.

    The :obj:`Config` of a subclass defines its signature and documentation. Settings
    are stored without NumPy types; :attr:`config` validates them.
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

    def __init__(self, *args: Any, **settings: Any) -> None:
        if args:
            raise TypeError(
                f'{type(self).__name__} takes settings by name, such as seed=0 (got '
                f'{shown(args[0])} without one)'
            )
        self.set_params(**self.Config.defaults() | settings)

    @property
    def config(self) -> Any:
        """The validated settings; ``ValueError`` if one is invalid."""
        return self.Config(**self.get_params())

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All settings by name; :obj:`deep` has no effect."""
        return {name: getattr(self, name) for name in self.Config.defaults()}

    def set_params(self: E, **settings: Any) -> E:
        """Changes settings without changing the fitted model.

        Training settings take effect in the next fit. Settings that predictions use,
        such as column names, take effect at once. If a name is unknown, none is set.
        """
        vars(self).update(self.Config.as_python(settings))
        return self

    def __repr__(self) -> str:
        # Settings are compared as texts: they are not validated yet.
        defaults = self.Config.defaults()
        params = {name: repr(value) for name, value in self.get_params().items()}
        changed = [f'{n}={v}' for n, v in params.items() if v != repr(defaults[n])]
        return f'{type(self).__name__}({", ".join(changed)})'

    def __sklearn_clone__(self: E) -> E:
        return type(self)(**copy.deepcopy(self.get_params()))

    def __sklearn_tags__(self) -> Any:
        from sklearn.utils import InputTags, Tags, TargetTags

        return Tags(None, TargetTags(required=False), input_tags=InputTags())


def check_argument(name: str, value: Any, annotation: Any) -> Any:
    """Validates an argument; ``ValueError`` if it does not match the annotation."""
    try:
        return _adapter(annotation).validate_python(_as_python(value, annotation))
    except ValidationError as error:
        raise ValueError(f"'{name}' {_must(error)} (got {shown(value)})") from None


def _as_python(value: Any, annotation: Any) -> Any:
    """A value without NumPy and pandas types, with sequences of the declared type."""
    if hasattr(value, 'tolist'):
        value = value.tolist()
    if isinstance(value, Mapping):
        items = value.items()
        return {_as_python(k, None): _as_python(v, annotation) for k, v in items}
    if isinstance(value, list | tuple):
        sequence = _sequence(annotation) or type(value)
        return sequence(_as_python(v, annotation) for v in value)
    return value


def _sequence(annotation: Any) -> type | None:
    """The sequence type that an annotation declares, if any."""
    if get_origin(annotation) in (list, tuple):
        return get_origin(annotation)
    return next(filter(None, map(_sequence, get_args(annotation))), None)


def _explain(
    cls: type[Config], settings: Mapping[str, Any], error: ValidationError
) -> str:
    """The error text: which setting is wrong, and why."""
    # Validators of several settings, or of a nested config, have texts of their own.
    first = min(error.errors(), key=lambda e: e['type'] != 'value_error')
    name = first['loc'][0] if first['loc'] else None
    if first['type'] == 'value_error':
        text = str(first['ctx']['error'])
        return text if name is None else f"'{name}': {text}"
    if name not in settings:
        return f"{cls.__name__} needs '{name}'"
    extra = cls.model_fields[name].json_schema_extra or {}
    must = f'must be {extra["must"]}' if 'must' in extra else _must(error, name)
    return f"'{name}' {must} (got {shown(settings[name])})"


def _must(error: ValidationError, name: str | None = None) -> str:
    """The text of the first error of a setting or argument, without its name."""
    messages = [e['msg'] for e in error.errors() if name in (None, *e['loc'][:1])]
    text = messages[0].replace('Field required', 'Input should have more entries')
    text = re.sub('a valid (list|tuple)', 'a list', text)
    text = text.replace(' after validation', '')
    return re.sub(r'^\w+ should', 'must', text)


def _type(schema: Mapping[str, Any]) -> str:
    """The type of a JSON schema as a docstring writes it."""
    if 'anyOf' in schema:
        return ' or '.join(filter(None, map(_type, schema['anyOf'])))
    choices = schema.get('enum', [schema['const']] if 'const' in schema else ())
    if choices:
        return f'one of {", ".join(map(repr, choices))}'
    bounds = (f', {word} {schema[k]:g}' for k, word in _BOUNDS.items() if k in schema)
    return _TYPES[schema.get('type', 'object')] + ''.join(bounds)
