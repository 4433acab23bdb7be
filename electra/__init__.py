"""The complete, fast ELECTRA toolkit in PyTorch."""

__version__ = "0.1.0"
