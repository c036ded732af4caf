"""Settings of Sphinx for the site: `python -m manual` copies this file beside the pages.

Nothing comes from another host when a page is read: furo brings its scripts and styles, and uses
the fonts of the reader's system.
"""

from typing import Any

from pygments.lexers.special import TextLexer  # type: ignore[import-untyped]

from asyncbuild import __version__

project = "asyncbuild"
author = "the asyncbuild project"
project_copyright = author
version = release = __version__
language = "en"

extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["extra", "bench"]
nitpicky = True
smartquotes = False  # quotation marks of values stay as they are typed
highlight_language = "none"

# Anchors as forges make them of headings, since the pages link to each other in that way.
myst_heading_anchors = 6
myst_enable_extensions = ["html_image"]
# Diagrams stay text: a renderer would be a script of several megabytes, or a browser in the build.
myst_fence_as_directive: list[str] = []

html_theme = "furo"
html_title = f"asyncbuild {__version__}"
html_extra_path = ["extra"]  # files that raw HTML of the pages names, at their own paths
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_copy_source = False
html_theme_options: dict[str, object] = {"top_of_page_buttons": []}  # no page is edited there


def setup(app: Any) -> None:  # noqa: ANN401 - Sphinx is not installed where types are checked
    """Show diagrams as text; without this their language would be unknown."""
    app.add_lexer("mermaid", TextLexer)
