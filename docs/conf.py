"""How Sphinx builds these pages: `make docs`. Nothing is fetched while building."""

project = "Headway"
author = "The Headway authors"
extensions = ["myst_parser"]
source_suffix = {".md": "markdown"}
root_doc = "index"
exclude_patterns = ["decisions/template.md"]
html_theme = "furo"
html_title = "Headway"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"source_repository": "", "navigation_with_keys": False}
myst_heading_anchors = 3
myst_enable_extensions = ["tasklist"]
suppress_warnings = ["myst.xref_missing"]  # tests/project/test_links.py checks the links
