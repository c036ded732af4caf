"""Embedded default: servers as children, a stand-in for CodeBuild, the demo."""
