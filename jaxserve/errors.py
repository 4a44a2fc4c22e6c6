"""What can go wrong, as one tree. Imports nothing; `server` maps the classes to HTTP statuses.

JaxserveError
├── ConfigError                 bad flag, file or combination          exit code 2
├── CheckpointError             missing, unused or mis-shaped weights  exit code 1
│   └── UnsupportedModel        architecture or attribute not handled  exit code 1
├── RequestError                the client's fault                     HTTP 400
│   ├── InvalidRequest
│   ├── ContextLengthExceeded
│   ├── UnknownModel                                                   HTTP 404
│   └── AdapterNotFound                                                HTTP 404
├── EngineBusy                  queue full, come back later            HTTP 429
└── EngineFailed                device or loop died, or shutting down  HTTP 503

Every message names what was wrong, the value, the limit and the way out.
"""


class JaxserveError(Exception):
    """Base of everything raised on purpose."""


class ConfigError(JaxserveError):
    """A flag, environment variable or configuration file that cannot be used."""


class CheckpointError(JaxserveError):
    """A model folder whose files do not make a model."""


class UnsupportedModel(CheckpointError):
    """An architecture, or an attribute of its config, that is not handled."""


class RequestError(JaxserveError):
    """A request that can never be served as it stands.

    `param` is the path of the offending field (`messages[2].content`), or None; `code` is the
    machine-readable slug of the error body.
    """

    def __init__(self, message: str, *, param: str | None = None, code: str = "invalid_value"):
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class InvalidRequest(RequestError):
    """A field of the wrong type, out of range, missing or not supported."""


class ContextLengthExceeded(RequestError):
    """The prompt, or the prompt plus what was asked for, does not fit the context."""

    def __init__(self, message: str, *, param: str | None = None):
        super().__init__(message, param=param, code="context_length_exceeded")


class UnknownModel(RequestError):
    """A model name that is not served here."""

    def __init__(self, message: str):
        super().__init__(message, param="model", code="model_not_found")


class AdapterNotFound(RequestError):
    """An adapter that is not loaded, or whose folder is not there."""

    def __init__(self, message: str):
        super().__init__(message, param="lora_name", code="adapter_not_found")


class EngineBusy(JaxserveError):
    """The queue is full. `retry_after_s` is a hint for the client."""

    def __init__(self, message: str, *, retry_after_s: float = 1.0):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class EngineFailed(JaxserveError):
    """The engine stopped: its device or loop died, or it is shutting down."""
