"""`python -m asyncbuild`."""

from asyncbuild.cli import main

main()
