"""The application factory: it creates the WSGI application from the settings."""

from collections.abc import Callable
from types import TracebackType
from typing import TypeVar

from apiflask import APIFlask

from neobank import migrations
from neobank.admin.bank_routes import bank_blueprint
from neobank.admin.casino_routes import games_blueprint
from neobank.admin.list_routes import lists_blueprint
from neobank.admin.money_routes import money_blueprint
from neobank.admin.user_routes import users_blueprint
from neobank.casino.routes import casino_blueprint, limits_blueprint
from neobank.database import connect
from neobank.monitoring import requests
from neobank.payments.routes import payments_blueprint
from neobank.players import passwords
from neobank.players.directory_routes import directory_blueprint
from neobank.players.picture_routes import pictures_blueprint
from neobank.players.routes import account_blueprint, auth_blueprint
from neobank.players.session_routes import sessions_blueprint
from neobank.settings import ServingSettings
from neobank.switches.routes import status_blueprint
from neobank.vendors.charge_routes import charges_blueprint
from neobank.vendors.external_routes import external_blueprint
from neobank.vendors.key_routes import keys_blueprint
from neobank.web import docs, errors, headers, health, openapi, rate_limits, refusals
from neobank.web.addresses import trust_proxies
from neobank.web.bank import Bank, bind
from neobank.web.requests import IdConverter, JSONProvider, JSONRequest, NumberConverter, TextConverter

BLUEPRINTS = (
    health.blueprint,
    docs.blueprint,
    status_blueprint,
    auth_blueprint,
    account_blueprint,
    pictures_blueprint,
    sessions_blueprint,
    directory_blueprint,
    payments_blueprint,
    external_blueprint,
    charges_blueprint,
    keys_blueprint,
    users_blueprint,
    lists_blueprint,
    money_blueprint,
    bank_blueprint,
    casino_blueprint,
    limits_blueprint,
    games_blueprint,
)

MAX_BODY = 64 * 1024  # bytes

View = TypeVar("View", bound=Callable[..., object])


class Application(APIFlask):
    """A Flask application that parses JSON strictly and exactly, and logs nothing that a client sent."""

    request_class = JSONRequest
    json_provider_class = JSONProvider

    def ensure_sync(self, func: View) -> View:
        """Return a view or hook unchanged: none is asynchronous, and Flask would inspect each one in every request."""
        return func

    def log_exception(
        self, exc_info: tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None]
    ) -> None:
        """Log an unhandled exception without the path of the request, which Flask's own message contains."""
        self.logger.error("Unhandled exception in a request.", exc_info=exc_info)


def create_app(settings: ServingSettings | None = None) -> APIFlask:
    """Create the application, by default with the environment's settings. Raise SettingsError if one is invalid."""
    settings = settings or ServingSettings.from_environment()
    app = Application("neobank", title="NeoBank", version="1", docs_path=None, static_folder=None)  # type: ignore[arg-type]
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY
    app.config["VALIDATION_ERROR_STATUS_CODE"] = 400
    app.url_map.converters |= {"int": IdConverter, "default": TextConverter, "number": NumberConverter}
    engine = connect(settings.database_url, connections=settings.connections, single_statements=True)
    bank = Bank(settings, engine, migrations.head())
    bind(app, bank)
    requests.register(app, bank.metrics, trust_id=settings.trusted_proxies > 0)
    refusals.register(app)
    trust_proxies(app, settings.trusted_proxies)
    passwords.size_queue(settings.threads)
    headers.register(app)
    errors.register(app)
    openapi.register(app)
    rate_limits.register(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    return app
