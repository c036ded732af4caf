"""Builder of the documentation site: `make docs` runs `python -m manual`.

The site shows the Markdown pages of the repository as they are, and a reference that is generated
from the code. `staging.py` puts both into one tree, Sphinx makes HTML of it, `built_links.py` reads
what came out.
"""
