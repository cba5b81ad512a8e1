"""The rows that a worker process of a benchmark prints, one JSON object a line, as soon as they are there."""

import json
import subprocess
import tempfile


def rows(command, env, errors):
    """Yields each row. If the process fails, the last line of its messages is appended to `errors`."""
    with tempfile.TemporaryFile("w+") as messages:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=messages, text=True, env=env)
        try:
            for line in process.stdout:
                if line.startswith("{"):
                    yield json.loads(line)
        finally:
            process.stdout.close()
            code = process.wait()
        if code:
            messages.seek(0)
            errors.append((messages.read().strip().splitlines() or [f"exit code {code}"])[-1][:300])
