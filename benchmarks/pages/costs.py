"""Sections of costs: the layer, serving, and whatever else was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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


def serving_section(content: Content) -> Section:
    """What a new user waits for."""
    parts: list[Any] = [Text('Not run.', 'note')]
    if content is not None:
        caption = (
            f'TaNP: {content["support"]} interactions of each new user are encoded and '
            f'all {content["num_items"]:,} items ranked; CPU seconds of one thread.'
        )
        parts = [as_table(serving_table(content), caption)]
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
    if isinstance(content, list):
        return _listed(content, name)
    scalars, tables = [], []
    for key, value in content.items():
        label = f'{name}: {_words(key)}' if name else _words(key)
        if key == 'environment':
            continue
        if isinstance(value, dict) and not _flat(value):
            tables += tables_of(value, label)
        elif isinstance(value, list) and any(isinstance(v, dict) for v in value):
            tables += _listed(value, label)
        else:
            scalars.append((_words(key), _written(value)))
    if scalars:
        tables.insert(0, Table(('', 'value'), scalars, name))
    return tables


def _listed(rows: Sequence[Any], name: str) -> list[Table]:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    header = [_words(column) for column in columns]
    cells = [
        [_written(row[column]) if column in row else '' for column in columns]
        for row in rows
    ]
    return [Table(header, cells, name)]


def _flat(value: dict[str, Any]) -> bool:
    return not any(isinstance(v, dict | list) for v in value.values())


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
    if isinstance(value, dict):
        return ', '.join(f'{_words(k)} {_written(v)}' for k, v in value.items())
    if isinstance(value, list):
        return ', '.join(_written(v) for v in value)
    return str(value)
