"""The version, stated once: the package metadata and ``echoservers.__version__`` read it."""

__version__ = "0.1.0"
