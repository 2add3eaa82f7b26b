"""Sections of costs: the layer, serving, and whatever else was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmarks.layer_plots import PANELS, layer_table
from benchmarks.pages.charts import SIZE, layer_cost
from benchmarks.pages.parts import Section, Table, Text, as_table, chart
from benchmarks.serving import serving_table

Content = dict[str, Any] | None

PANEL_CAPTIONS = {
    'nodes': 'As the graph grows',
    'neighbors': 'As nodes get more neighbours',
    'width': 'As embeddings widen',
}


def layer_section(content: Content) -> Section:
    """The layer beside PyG's."""
    parts: list[Any] = [Text('Not run.', 'note')]
    if content is not None:
        parts = [
            as_table(
                layer_table(content),
                'Forward and backward pass at 100,000 nodes with ten neighbours each; '
                'CPU seconds of one thread.',
                ('GatedConv',),
            )
        ]
        for vary in PANELS:
            if any(t['vary'] == vary for t in content['timings']):
                drawn = layer_cost(content, vary)
                parts.append(chart(drawn, f'layer-{vary}', PANEL_CAPTIONS[vary], SIZE))
    return Section('layer', 'What the layer costs', parts)


def serving_section(tanp: Content, agnn: Content) -> Section:
    """What a new user waits for."""
    parts: list[Any] = [Text('TaNP', 'heading'), Text('Not run.', 'note')]
    if tanp is not None:
        caption = (
            f'{tanp["support"]} interactions of each new user are encoded and all '
            f'{tanp["num_items"]:,} items ranked; CPU seconds of one thread, the '
            'median of many calls and the quickest.'
        )
        parts[1:] = [as_table(serving_table(tanp), caption)]
    parts.append(Text('AGNN', 'heading'))
    parts += tables_of(agnn) if agnn is not None else [Text('Not run.', 'note')]
    return Section('serving', 'What serving costs', parts)


def scaling_section(contents: Mapping[str, Content]) -> Section:
    """Further measurements, by title: their rows as they are in the JSON."""
    parts: list[Any] = []
    for title, content in contents.items():
        parts.append(Text(title, 'heading'))
        found = tables_of(content) if content is not None else []
        parts += found or [Text('Not run.', 'note')]
    return Section('scaling', 'Scaling', parts)


def tables_of(content: Any, name: str = '') -> list[Table]:
    """All of a JSON value in tables: one of its scalars, one a list of objects.

    The environment is left to the page's last section.
    """
    if _is_table(content):
        return _listed(content, name)
    scalars, tables = [], []
    for key, value in content.items():
        if key == 'environment':
            continue
        label = f'{name}: {_words(key)}' if name else _words(key)
        if _is_table(value) or isinstance(value, dict):
            tables += tables_of(value, label)
        else:
            scalars.append((_words(key), _written(value)))
    if scalars:
        tables.insert(0, Table(('', 'value'), scalars, name))
    return tables


def _listed(rows: Sequence[dict[str, Any]], name: str) -> list[Table]:
    """A row an object; what its objects hold beside it, and its lists below."""
    flat, below = [], []
    for number, row in enumerate(rows, 1):
        title = f'{name}: {row.get("name", number)}'
        flat.append(dict(_flattened(row)))
        for key, value in row.items():
            if _is_table(value):
                below += _listed(value, f'{title}, {_words(key)}')
    columns = list(dict.fromkeys(key for row in flat for key in row))
    cells = [
        [_written(row[column]) if column in row else '' for column in columns]
        for row in flat
    ]
    return [Table(columns, cells, name), *below]


def _flattened(row: dict[str, Any], name: str = '') -> Iterator[tuple[str, Any]]:
    for key, value in row.items():
        label = f'{name}: {_words(key)}' if name else _words(key)
        if isinstance(value, dict):
            yield from _flattened(value, label)
        elif not _is_table(value):
            yield label, value


def _is_table(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict)


def _words(key: str) -> str:
    return key.replace('_', ' ')


def _written(value: Any) -> str:
    """Three significant digits, whole numbers in full."""
    if value is None:
        return 'none'
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    if isinstance(value, int):
        return f'{value:,}'
    if isinstance(value, float):
        return f'{value:,.0f}' if abs(value) >= 1000 else f'{value:.3g}'
    if isinstance(value, list):
        return ', '.join(_written(v) for v in value)
    return str(value)
