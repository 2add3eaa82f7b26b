"""The page of results: whole, self-contained, and of the tables' own figures."""

import copy
import re
import shutil
from html.parser import HTMLParser

import pytest

from benchmarks.ablation_tables import ablation_table
from benchmarks.agnn_tables import lead_table, summary_table
from benchmarks.layer_plots import layer_table
from benchmarks.markdown import cells
from benchmarks.pages.costs import tables_of
from benchmarks.pages.render import figures
from benchmarks.pages.svg import inline_svg
from benchmarks.plots import MODEL_COLOR, new_figure
from benchmarks.records import read_json, read_reports, write_json
from benchmarks.report import main
from benchmarks.serving import serving_table
from benchmarks.tables import RESULTS
from benchmarks.tanp_tables import size_table
from benchmarks.tanp_tables import summary_table as tanp_summary_table

VOID = {'meta', 'link', 'br'}
FILES = (
    'agnn/ml100k-item-cold/split-0/seed-0/report.json',
    'agnn/ml100k-item-cold/split-1/seed-0/report.json',
    'agnn/ml100k-warm/split-0/seed-0/report.json',
    'tanp/lastfm/split-1/seed-0/report.json',
    'layer.json',
    'serving.json',
)
SCALE = {
    'environment': {'cpu': 'x', 'threads': 1, 'device': 'cpu', 'python': '3'}
    | {'torch': '2', 'torch_geometric': '2', 'git_commit': 'abcdef123', 'git_dirty': 0},
    'repeats': 2,
    'graphs': [
        {'nodes': 1000000, 'time': {'cpu_s': 1.2345, 'wall_s': None}},
        {'nodes': 10, 'fast': True, 'parts': [{'part': 'a'}], 'name': 'small'},
    ],
    'steps': {'load': {'rows': [{'s': 12345.6}]}},
}


class Page(HTMLParser):
    """Tables as rows of texts, attributes of all tags, and what is not closed."""

    def __init__(self, text):
        super().__init__()
        self.open, self.tags, self.tables, self.text = [], [], [], []
        self.feed(text)
        self.close()
        assert self.open == [], 'left open'

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == 'br':
            self.tables[-1][-1][-1] += ' / '
        if tag not in VOID:
            self.open.append(tag)
        if tag == 'table':
            self.tables.append([])
        elif tag == 'tr':
            self.tables[-1].append([])
        elif tag in ('td', 'th'):
            self.tables[-1][-1].append('')

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)
        if 'td' in self.open or 'th' in self.open:
            self.tables[-1][-1][-1] += data


def as_shown(table):
    return [
        [figures(cell).replace('\N{NO-BREAK SPACE}', ' ') for cell in row]
        for row in cells(table)
    ]


@pytest.fixture(scope='module')
def results(tmp_path_factory):
    """Few of the committed results, two variants of an ablation and a fresh split."""
    folder = tmp_path_factory.mktemp('results')
    for name in FILES:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(RESULTS / name, folder / name)
    report = read_json(folder / FILES[0])
    write_json(folder / 'fresh' / FILES[0], report)
    for number, variant in enumerate(('as configured', 'no messages')):
        made = copy.deepcopy(report)
        made['config']['variant'] = variant
        made['metrics']['test']['rmse'] += number / 100
        del made['peers']
        name = variant.replace(' ', '-')
        path = folder / 'ablation' / 'ml100k-item-cold' / name / 'split-0' / 'seed-0'
        write_json(path / 'report.json', made)
    write_json(folder / 'scale.json', SCALE)
    return folder


@pytest.fixture(scope='module')
def text(results, tmp_path_factory):
    path = tmp_path_factory.mktemp('page') / 'report.html'
    assert main(['--results', str(results), '--out', str(path)]) == 0
    return path.read_text(encoding='utf-8')


@pytest.fixture(scope='module')
def page(text):
    return Page(text)


def test_it_needs_nothing_else(text, page):
    for tag, attributes in page.tags:
        assert 'src' not in attributes, tag
        for name in ('href', 'xlink:href'):
            target = attributes.get(name, '#')
            assert target.startswith(('#', 'data:')) or target == 'examples.html'
    # Styles load nothing: `url()` is for clip paths of the charts themselves.
    assert all(url.startswith('#') for url in re.findall(r'url\((.)', text))
    assert '@import' not in text
    assert 'http' not in text


def test_ids_are_unique_and_links_within_the_page_arrive(page):
    ids = [attributes['id'] for _, attributes in page.tags if 'id' in attributes]
    assert len(ids) == len(set(ids))
    links = [a['href'] for _, a in page.tags if a.get('href', '').startswith('#')]
    assert {link[1:] for link in links} <= set(ids)


def test_tables_have_the_figures_of_the_markdown(results, page):
    agnn, fresh = (read_reports(results / part) for part in ('agnn', 'fresh/agnn'))
    tanp = read_reports(results / 'tanp')
    for table in (
        summary_table(agnn),
        lead_table(agnn),
        summary_table(fresh),
        tanp_summary_table(tanp),
        size_table(tanp),
        ablation_table(read_reports(results / 'ablation')),
        layer_table(read_json(results / 'layer.json')),
        serving_table(read_json(results / 'serving.json')),
    ):
        assert as_shown(table) in page.tables


def test_charts_have_the_colours_of_the_page(text):
    charts = re.findall(r'<svg.*?</svg>', text, re.DOTALL)
    assert len(charts) > 10
    for chart in charts:
        assert not re.findall(r'#[0-9a-f]{6}', chart)
        assert 'DejaVu' not in chart
    defined = set(re.findall(r'^ *(--[a-z-]+):', text, re.MULTILINE))
    assert set(re.findall(r'var\((--[a-z-]+)\)', text)) <= defined


def test_it_says_what_was_not_run(page):
    (lacking,) = (t for t in page.tables if t[0] == ['result', 'not run', 'why'])
    rows = {(first, what) for first, what, _ in lacking}
    assert ('AGNN, user cold', 'all splits') in rows
    assert ('AGNN on fresh splits, item cold', '9 of 10 splits') in rows
    assert ('TaNP, MovieLens-100K', 'all splits') in rows
    assert ('profile', 'all') in rows
    assert ('scale', 'all') not in rows


def test_other_measurements_are_shown_as_they_are(page):
    scalars, graphs, parts, rows = tables = tables_of(SCALE)
    assert scalars.rows == [('repeats', '2')]
    assert graphs.header == ['nodes', 'time: cpu s', 'time: wall s', 'fast', 'name']
    assert graphs.rows == [
        ['1,000,000', '1.23', 'none', '', ''],
        ['10', '', '', 'yes', 'small'],
    ]
    assert (parts.caption, parts.rows) == ('graphs: small, parts', [['a']])
    assert (rows.caption, rows.rows) == ('steps: load: rows', [['12,346']])
    for table in tables:
        assert [list(table.header), *map(list, table.rows)] in page.tables


def test_the_same_figure_gives_the_same_svg():
    def drawn():
        figure, axes = new_figure((3, 2))
        axes.plot([1, 2], [3, 4], 'o-', color=MODEL_COLOR)
        return inline_svg(figure, 'name')

    assert drawn() == drawn()
    assert drawn().startswith('<svg viewBox="0 0 216 144"')


def test_a_broken_file_is_named(tmp_path, capsys):
    path = tmp_path / 'agnn' / 'x' / 'report.json'
    out = tmp_path / 'page.html'
    arguments = ['--results', str(tmp_path), '--out', str(out)]
    write_json(path, {})
    for content, message in (
        ('{"half', f"'{path}' is no JSON"),
        ('[1]', f"'{path}' must hold a JSON object (got list)"),
        ('{"config": {}}', "lacks the key 'data'"),
    ):
        path.write_text(content, encoding='utf-8')
        assert main(arguments) == 2
        assert message in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize(
    ('folder', 'message'), [('no', "No folder '"), ('.', 'holds no results')]
)
def test_no_results_is_an_error(tmp_path, capsys, folder, message):
    arguments = ['--results', str(tmp_path / folder), '--out', str(tmp_path / 'page')]
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
