"""Measurements in processes of their own, so that none finds the memory or the threads of another."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any


def result_of(command: Sequence[str], variables: Mapping[str, str] | None = None) -> Any:
    """What Python with these arguments prints in its last line, as JSON. If it fails, so does this process.

    Args:
        variables: of the environment, beside those of this process.
    """
    environment = os.environ | dict(variables or {})
    done = subprocess.run([sys.executable, *command], env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    return json.loads(done.stdout.splitlines()[-1])
