"""Connects to MLflow: timeouts, credentials, and the translation of MLflow's errors.

The registry is embedded by default (`mlflow.db`); `MLFLOW_TRACKING_URI` names another one.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import mlflow
from mlflow.environment_variables import (
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR,
    MLFLOW_HTTP_REQUEST_MAX_RETRIES,
    MLFLOW_HTTP_REQUEST_TIMEOUT,
)
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode
from mlflow.utils.credentials import read_mlflow_creds
from sqlalchemy import NullPool, create_engine, make_url
from sqlalchemy.exc import SQLAlchemyError

from pipeline.environment import Environment
from pipeline.errors import RegistryRefused, RegistryUnavailable, RegistryVariablesConflict
from pipeline.registry.embedded_database import is_embedded, lock_embedded, registry_uri
from serving.artifact.registry.address import Credentials, plaintext_exposure, without_credentials

# Seconds to connect to a database server, and the name of that option in the driver of each kind.
CONNECT_TIMEOUT = 10
TIMEOUT_OPTIONS = {"postgresql": "connect_timeout", "mysql": "connect_timeout", "mssql": "timeout"}
# Seconds for one HTTP request. MLflow's default, with its retries, takes several minutes to fail.
REQUEST_TIMEOUT = 20


def open_client(environment: Environment) -> mlflow.MlflowClient:
    """Opens the registry and sends one request; `RegistryUnavailable` within seconds if that fails.

    `RegistryRefused` before anything is sent, if user, password or token would travel unencrypted.
    """
    uri = registry_uri(environment)
    if environment.conflicting_variables:
        raise RegistryVariablesConflict(without_credentials(uri), environment.conflicting_variables)
    if reason := plaintext_exposure(uri, _credentials(environment)):
        raise RegistryRefused(without_credentials(uri), reason)
    MLFLOW_HTTP_REQUEST_MAX_RETRIES.set(1)  # type: ignore[no-untyped-call]
    MLFLOW_HTTP_REQUEST_TIMEOUT.set(REQUEST_TIMEOUT)  # type: ignore[no-untyped-call]
    MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR.set(False)  # type: ignore[no-untyped-call]
    # MLflow resolves artifacts by the global setting, not by the client's URI.
    mlflow.set_tracking_uri(uri)
    # The first client of an embedded registry creates the tables.
    with translate_errors(uri), lock_embedded(uri):
        _probe_database_server(uri)
        client = mlflow.MlflowClient(uri, uri)
        client.search_registered_models(max_results=1)
    return client


@contextmanager
def translate_errors(uri: str) -> Iterator[None]:
    """Turns the errors of MLflow and its database drivers into `RegistryUnavailable`, with one line."""
    try:
        yield
    # ImportError: SQLAlchemy does not find the driver of a database.
    except (MlflowException, SQLAlchemyError, OSError, ImportError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise RegistryUnavailable(display_uri(uri), reason.replace(uri, display_uri(uri))) from error


@contextmanager
def ignore_already_exists() -> Iterator[None]:
    """For creating what another process may have created a moment ago."""
    try:
        yield
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def display_uri(uri: str) -> str:
    """The URI without user and password."""
    if is_embedded(uri):
        return uri
    parts = urlsplit(uri)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _probe_database_server(uri: str) -> None:
    """Connects to a database server once. MLflow itself tries ten times, for two minutes and more."""
    engine = make_url(uri).get_backend_name() if not is_embedded(uri) and "://" in uri else ""
    if engine in TIMEOUT_OPTIONS:
        options = {TIMEOUT_OPTIONS[engine]: CONNECT_TIMEOUT}
        with create_engine(uri, poolclass=NullPool, connect_args=options).connect():
            pass


def _credentials(environment: Environment) -> Credentials:
    """The credentials that MLflow would send, from the environment or from its file in the home folder."""
    user, password = read_mlflow_creds()
    return Credentials(
        user or "", password or "", environment.tracking_token, plain_http=environment.plain_http
    )
