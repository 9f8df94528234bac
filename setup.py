"""List the packages to install: `resources/` is installed as `surgeon_resources`.

The guide and its pictures are copied into it, so that the window can show them.
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py


class BuildWithGuide(build_py):
    """Build the packages, and add the guide to the resources."""

    def run(self) -> None:
        """Build all packages."""
        super().run()
        if self.editable_mode:
            return  # the window finds the guide in docs/
        guide = Path(self.build_lib) / "surgeon_resources" / "guide"
        shutil.copytree("docs/pictures", guide / "pictures", dirs_exist_ok=True)
        shutil.copy("docs/guide.md", guide)


setup(
    cmdclass={"build_py": BuildWithGuide},
    packages=[
        *find_packages(include=["surgeon_engine*", "surgeon_gui*"]),
        "surgeon_resources",
    ],
    package_dir={"surgeon_resources": "resources"},
)
