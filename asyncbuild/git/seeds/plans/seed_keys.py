"""Keys of the objects of seeds. Pure.

ACCOUNT/REGION/REPOSITORY/manifest.json       replaced last, under a condition
ACCOUNT/REGION/REPOSITORY/pack/SHA256.pack    named by content: written once, never replaced
ACCOUNT/REGION/REPOSITORY/pack/SHA256.idx
"""

from dataclasses import dataclass

from asyncbuild.git.seeds.plans.seed_manifest import SeedManifest, SeedPack


@dataclass(frozen=True, slots=True)
class SeedKeys:
    """Keys of one repository's seed.

    Attributes:
        prefix: Prefix of all seeds; ends in a slash.
        repository: Path of the repository.
    """

    prefix: str
    repository: str

    @property
    def manifest(self) -> str:
        """Key of the manifest."""
        return f"{self.prefix}{self.repository}/manifest.json"

    @property
    def packs(self) -> str:
        """Prefix of the keys of packs and indexes."""
        return f"{self.prefix}{self.repository}/pack/"

    def pack(self, each: SeedPack) -> str:
        """Return the key of a pack."""
        return f"{self.packs}{each.pack.sha256}.pack"

    def index(self, each: SeedPack) -> str:
        """Return the key of a pack's index."""
        return f"{self.packs}{each.index.sha256}.idx"

    def named_by(self, manifest: SeedManifest) -> frozenset[str]:
        """Return the keys of all files of a manifest."""
        return frozenset(
            key for each in manifest.packs for key in (self.pack(each), self.index(each))
        )
