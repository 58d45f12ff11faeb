"""The web app: pages, films and live pictures, served to their owners alone. Needs the extra ``web``."""

from bystander.web.app import create_app
from bystander.web.settings import WebSettings

__all__ = ["WebSettings", "create_app"]
