"""`convert(SRC, *flags)`: run convert_labels.py into tmp_path/out."""

import pytest


@pytest.fixture
def convert(script, tmp_path):
    def call(source, *flags, code=0, out=None):
        command = ["python", "scripts/data/convert_labels.py", source, out or tmp_path / "out", "--workers", "0"]
        done = script(*command, *flags)
        assert done.returncode == code and "Traceback" not in done.stderr, done.stdout + done.stderr
        return done

    return call


@pytest.fixture
def refused(convert):
    """Converting ends with one line that has these words; nothing that a training could use is there."""

    def check(source, *words, flags=()):
        done = convert(source, *flags, code=1)
        line = done.stderr.strip().splitlines()[-1]
        assert line.startswith("convert_labels.py: ") and all(word in line for word in words), line

    return check
