"""List the packages to install: `resources/` is installed as `surgeon_resources`."""

from setuptools import find_packages, setup

setup(
    packages=[
        *find_packages(include=["surgeon_engine*", "surgeon_gui*"]),
        "surgeon_resources",
    ],
    package_dir={"surgeon_resources": "resources"},
)
