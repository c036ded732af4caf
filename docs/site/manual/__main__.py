"""Builder of the site: stages its source, runs Sphinx, and reads what came out.

Every warning is an error. `DOCS_FILES_URL` is the URL below which the repository's files are shown;
without it the files that pages name are part of the site.
"""

import os
import subprocess
import sys
from pathlib import Path

from manual.built_links import faults_of
from manual.staging import stage

_ROOT = Path(__file__).parents[3]


def main(output: Path) -> int:
    """Build the site below a directory and return the exit code.

    Args:
        output: Gets `source`, which Sphinx reads, and `html`, the site.
    """
    source, html = output / "source", output / "html"
    stage(_ROOT, source, files_url=os.environ.get("DOCS_FILES_URL", ""))
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--nitpicky", "--fresh-env"]
    command = [sys.executable, "-m", "sphinx", *options]
    doctrees = ["--doctree-dir", str(output / "doctrees")]
    done = subprocess.run([*command, *doctrees, str(source), str(html)], check=False)
    if done.returncode:
        return done.returncode
    faults = faults_of(html)
    for each in faults:
        print(each, file=sys.stderr)
    if not faults:
        print(f"the site: {html / 'index.html'}")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
