"""Finds the packages: those below embevo/ by themselves, and the two whose folders have shorter names."""

from setuptools import find_packages, setup

setup(packages=[*find_packages(include=["embevo", "embevo.*"]), "embevo_cli", "embevo_data"])
