"""Puts routes, pages and the guard together for one centre. Owns nothing."""

from __future__ import annotations

import importlib
import pkgutil

from fastapi import FastAPI
from fastapi_offline import FastAPIOffline

from schoolpulse_api import __version__, console, routes
from schoolpulse_api.auth import Guard, sign_in_route
from schoolpulse_api.centre import Centre


def create_app(centre: Centre) -> FastAPI:
    """The whole web application: every file in ``routes/``, then the console's pages."""
    app: FastAPI = FastAPIOffline(
        title="SchoolPulse",
        version=__version__,
        description="Health and usage of the schools' hardware. Show a token: `Authorization: Bearer ...`.",
        redoc_url=None,
    )
    for module in pkgutil.iter_modules(routes.__path__):
        app.include_router(importlib.import_module(f"{routes.__name__}.{module.name}").router(centre))
    app.include_router(sign_in_route(centre.registry))
    console.attach(app, centre)
    app.add_middleware(Guard, registry=centre.registry)  # the last added is the outermost
    return app
