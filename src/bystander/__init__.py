"""bystander keeps the person being interviewed sharp and covers every other face."""

__version__ = "0.1.0"
