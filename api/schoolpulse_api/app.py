"""Puts routes, pages and the guard together for one centre. Owns nothing."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator
from types import ModuleType

from fastapi import APIRouter, Depends, FastAPI
from fastapi.routing import APIRoute
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline

from schoolpulse_api import __version__, console, oidc, refusals, routes, signin, unguarded
from schoolpulse_api.access import Access, Guard, Needs
from schoolpulse_api.centre import Centre
from schoolpulse_api.refusals import documented

SHOWN = HTTPBearer(auto_error=False, description="a token of `schoolpulse token`")  # for /docs; the guard has checked
GUARDED = documented(400, 401, 403, 404, 413, 422, 503)


class Unprotected(Exception):
    """A route names no role: a mistake in the program."""


def create_app(centre: Centre, *, demo: bool = False) -> FastAPI:
    """The whole web application: every file in ``routes/`` and ``unguarded/``, signing in, the console's pages.

    ``demo``: nobody is made to set a password or a second factor.
    """
    app: FastAPI = FastAPIOffline(
        title="SchoolPulse",
        version=__version__,
        description="Health and usage of the schools' hardware. Show a token: `Authorization: Bearer ...`.",
        redoc_url=None,
    )
    for module in _modules(routes):
        router = module.router()
        _require_roles(router)
        app.include_router(router, responses=GUARDED, dependencies=[Depends(SHOWN)])
    for module in _modules(unguarded):
        app.include_router(module.router(centre))
    app.include_router(signin.router(centre.registry, centre.settings, easy=demo))
    app.include_router(oidc.router(centre.registry, centre.settings))
    refusals.refuse_the_rest(app)
    console.attach(app)
    refusals.attach(app)
    access = Access(centre.registry, centre.settings.time_zone)
    app.add_middleware(Guard, centre=centre, access=access)  # the last added is the outermost
    return app


def _modules(package: ModuleType) -> Iterator[ModuleType]:
    for module in pkgutil.iter_modules(package.__path__):
        yield importlib.import_module(f"{package.__name__}.{module.name}")


def _require_roles(router: APIRouter) -> None:
    for route in router.routes:
        asks = isinstance(route, APIRoute) and any(isinstance(one.call, Needs) for one in route.dependant.dependencies)
        if not asks:
            raise Unprotected(f"{getattr(route, 'path', route)}: give it `view: Annotated[View, needs(role)]`")
