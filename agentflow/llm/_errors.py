"""Every error of the LLM half, in one tree, split by who erred.

    LLMError
    ├── ConfigurationError      the caller: something is wrong before any request
    │   ├── MissingKey
    │   ├── SchemaError         a type that JSON Schema cannot express
    │   └── UsageLimitExceeded  a UsageLimit of the caller's own is used up
    ├── ProviderError           the provider said no, by status or inside a 200 answer
    │   ├── BadRequest
    │   │   └── ContextTooLong
    │   ├── AuthenticationFailed
    │   ├── PermissionDenied
    │   ├── NotFound
    │   ├── RateLimited
    │   ├── Overloaded
    │   ├── ServerFailed
    │   └── ContentRefused
    ├── AnswerError             the provider answered, but not with what was asked for
    │   ├── MalformedAnswer
    │   │   └── AnswerTooLarge
    │   ├── IncompleteStream
    │   ├── InvalidObject
    │   └── ToolLoopExceeded
    ├── TransportError          the network between us
    │   ├── ConnectionFailed
    │   └── AttemptTimeout
    └── ToolFailed              a tool that wants its turn to end

Each carries what the provider said of it in ``info``. None of them ever holds a key: the
HTTP door redacts the key it sent from every error that passes it.
"""

from typing import TYPE_CHECKING, Self

import attrs

from agentflow._errors import AgentFlowError

if TYPE_CHECKING:
    from agentflow.llm._reply import Reply


@attrs.frozen(kw_only=True)
class ErrorInfo:
    """What is known of a failed exchange.

    Attributes:
        provider: Name of the provider that was asked, such as "groq".
        status: HTTP status; None when no answer came.
        code: The provider's own code or type of the error, as text.
        message: The provider's own words.
        request_id: The id under which the provider logged the request.
    """

    provider: str | None = None
    status: int | None = None
    code: str | None = None
    message: str | None = None
    request_id: str | None = None

    def __str__(self) -> str:
        """Say it in a line: who, status and code, the words, the request id."""
        who = self.provider or "the provider"
        what = " ".join(str(x) for x in (self.status, self.code) if x is not None)
        line = f"{who} answered {what}" if what else f"{who} failed"
        if self.message:
            line += f": {self.message}"
        if self.request_id:
            line += f" (request id {self.request_id})"
        return line


class LLMError(AgentFlowError):
    """Base class of everything the LLM half raises.

    Attributes:
        info: What is known of the exchange; empty for errors before any request.
    """

    def __init__(self, message: str = "", *, info: ErrorInfo | None = None) -> None:
        self.info: ErrorInfo = info or ErrorInfo()
        super().__init__(message or str(self.info))

    @property
    def status(self) -> int | None:
        """HTTP status of the answer; None when there was none."""
        return self.info.status

    @property
    def code(self) -> str | None:
        """The provider's own code or type of the error."""
        return self.info.code

    @property
    def request_id(self) -> str | None:
        """The id under which the provider logged the request."""
        return self.info.request_id

    def about(self, *, provider: str, request_id: str | None) -> Self:
        """Add who was asked, and the request id, where they are not known yet.

        Args:
            provider: Name of the provider.
            request_id: Request id from the answer's headers; None if there was none.

        Returns:
            The error itself.
        """
        before = str(self.info)
        self.info = attrs.evolve(
            self.info,
            provider=self.info.provider or provider,
            request_id=self.info.request_id or request_id,
        )
        if self.args == (before,):
            self.args = (str(self.info),)
        return self

    def redact(self, secret: str) -> Self:
        """Take a key out of everything the error says.

        Args:
            secret: The key; an empty one changes nothing.

        Returns:
            The error itself.
        """
        if not secret:
            return self
        self.args: tuple[object, ...] = tuple(
            x.replace(secret, "***") if isinstance(x, str) else x for x in self.args
        )
        self.info = attrs.evolve(
            self.info,
            code=self.info.code and self.info.code.replace(secret, "***"),
            message=self.info.message and self.info.message.replace(secret, "***"),
        )
        return self


class ConfigurationError(LLMError):
    """Something is wrong on our side of the wire; no request was made."""


class MissingKey(ConfigurationError):
    """The provider needs an API key and none was given."""


class SchemaError(ConfigurationError):
    """A type cannot be expressed as JSON Schema; class and field are named."""


class UsageLimitExceeded(ConfigurationError):
    """A ``UsageLimit`` leaves no room for another request or tool call."""


class ProviderError(LLMError):
    """The provider said no: by status, or by an error inside its answer.

    Attributes:
        retry_after: Seconds the provider asks us to wait; None if it did not say.
    """

    retry_after: float | None = None


class BadRequest(ProviderError):
    """The provider does not take the request as it is."""


class ContextTooLong(BadRequest):
    """The conversation is longer than the model's context window."""


class AuthenticationFailed(ProviderError):
    """The key is wrong, or missing."""


class PermissionDenied(ProviderError):
    """The key is good, but not for this: not allowed, or not paid for."""


class NotFound(ProviderError):
    """No such model, or no such path at this base URL."""


class RateLimited(ProviderError):
    """Too many requests or tokens; see ``retry_after``."""


class Overloaded(ProviderError):
    """The provider has no capacity at the moment."""


class ServerFailed(ProviderError):
    """The provider failed at something of its own."""


class ContentRefused(ProviderError):
    """The model, or a filter around it, refused to answer.

    Attributes:
        reply: The reply that holds the refusal; None if the request was refused.
    """

    def __init__(
        self,
        message: str = "",
        *,
        info: ErrorInfo | None = None,
        reply: "Reply | None" = None,
    ) -> None:
        super().__init__(message, info=info)
        self.reply: Reply | None = reply


class AnswerError(LLMError):
    """The provider answered, but not with what was asked for."""


class MalformedAnswer(AnswerError):
    """The answer is not what the API's format says, so it cannot be read."""


class AnswerTooLarge(MalformedAnswer):
    """The answer outgrew the memory set aside for one."""


class IncompleteStream(AnswerError):
    """The stream broke off, or ended without its end mark.

    Attributes:
        partial: The reply as far as it came; None if nothing of it did.
    """

    def __init__(
        self,
        message: str = "",
        *,
        info: ErrorInfo | None = None,
        partial: "Reply | None" = None,
    ) -> None:
        super().__init__(message, info=info)
        self.partial: Reply | None = partial


class InvalidObject(AnswerError):
    """The model's text does not fit the response model, after all repairs.

    Attributes:
        reply: The last reply, with the text that does not fit.
    """

    def __init__(
        self,
        message: str = "",
        *,
        info: ErrorInfo | None = None,
        reply: "Reply | None" = None,
    ) -> None:
        super().__init__(message, info=info)
        self.reply: Reply | None = reply


class ToolLoopExceeded(AnswerError):
    """The model kept calling tools beyond the rounds, calls or repairs allowed."""


class TransportError(LLMError):
    """The network failed before the answer began."""


class ConnectionFailed(TransportError):
    """No connection, or it was lost before the first byte of an answer."""


class AttemptTimeout(TransportError):
    """One attempt took longer than it may."""


class ToolFailed(LLMError):
    """Raised by a tool to end the turn, where other errors go back to the model."""


def words_of(error: BaseException) -> str:
    """Say what went wrong, in the words of whatever lies behind it if it has none.

    Args:
        error: The error; the clients of some networks raise it without a word.

    Returns:
        The first words found, or the name of its kind.
    """
    cause: BaseException | None = error
    while cause is not None:
        if str(cause):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    return type(error).__name__
