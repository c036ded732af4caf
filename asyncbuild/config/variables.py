"""Names of the environment variables that hold settings. Imports nothing."""

from typing import Final

ENV_PREFIX: Final = "ASYNCBUILD_"
FILE_VARIABLE: Final = ENV_PREFIX + "CONFIG"  # path of the TOML file
