import importlib

import pytest

CONFIG = 'benchmarks/configs/agnn/ml100k-warm.toml'
COMMANDS = (
    f'agnn {CONFIG}',
    'tanp benchmarks/configs/tanp/lastfm.toml',
    f'ablation {CONFIG}',
    'tanp_ablation',
    'serving',
    'agnn_serving',
    'layer',
    'scale',
    'profile',
    'reliability soak',
)


def run(command, *more):
    name, *arguments = command.split()
    return importlib.import_module(f'benchmarks.{name}').main([*arguments, *more])


@pytest.mark.parametrize('command', COMMANDS)
@pytest.mark.parametrize('out', ['file', 'file/below'])
def test_a_file_in_place_of_a_folder_is_found_before_all_else(
    tmp_path, capsys, command, out
):
    file = tmp_path / 'file'
    file.write_text('kept')
    assert run(command, '--out', str(tmp_path / out)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: '--out' must be a folder")
    assert f"but '{file}' is a file" in error
    assert file.read_text() == 'kept'


@pytest.mark.parametrize('command', ['report', 'examples'])
def test_a_page_that_cannot_be_written(tmp_path, capsys, command):
    (tmp_path / 'file').write_text('kept')
    for page, message in (
        ('.', "'--out' must be a page to write (got the folder '"),
        ('file/page.html', "'--out' must be a folder (got '"),
    ):
        assert run(command, '--out', str(tmp_path / page)) == 2
        assert message in capsys.readouterr().err
    assert (tmp_path / 'file').read_text() == 'kept'


@pytest.mark.parametrize('threads', ['0', '-1'])
def test_threads(capsys, threads):
    assert run(COMMANDS[0], '--threads', threads) == 2
    assert f"'--threads' must be at least 1 and whole (got {threads})" in (
        capsys.readouterr().err
    )


@pytest.mark.parametrize(
    ('command', 'name'),
    [
        ('scale', 'scale.json'),
        ('tanp_ablation --smoke', 'tanp-ablation.json'),
        ('layer --extend', 'layer.json'),
    ],
)
def test_what_to_go_on_with_must_be_of_the_right_shape(tmp_path, capsys, command, name):
    path = tmp_path / name
    path.write_text('{}')
    assert run(command, '--out', str(tmp_path)) == 2
    assert f"error: '{path}' lacks the key" in capsys.readouterr().err
    path.write_text('[]')
    assert run(command, '--out', str(tmp_path)) == 2
    assert f"'{path}' must hold a JSON object" in capsys.readouterr().err
