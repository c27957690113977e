"""The tree of errors."""

import pickle
from typing import Any

from agentflow._errors import AgentFlowError
from agentflow.llm import (
    BadRequest,
    ConfigurationError,
    ContextTooLong,
    ErrorInfo,
    LLMError,
    ProviderError,
    SchemaError,
)


def test_an_error_says_who_answered_what() -> None:
    """Provider, status, code, words and request id stand in one line."""
    info = ErrorInfo(
        provider="groq", status=400, code="bad", message="no", request_id="r1"
    )
    error = BadRequest(info=info)
    assert str(error) == "groq answered 400 bad: no (request id r1)"
    assert (error.status, error.code, error.request_id) == (400, "bad", "r1")


def test_an_error_without_an_answer_says_so() -> None:
    """Nothing is known, and nothing is made up."""
    assert str(LLMError()) == "the provider failed"


def test_provider_and_request_id_are_added_once_known() -> None:
    """What the codec knows stays; the text follows."""
    error = BadRequest(info=ErrorInfo(status=400, request_id="body"))
    error.about(provider="groq", request_id="header")
    assert str(error) == "groq answered 400 (request id body)"


def test_a_text_of_its_own_stays() -> None:
    """Only texts made from the info follow it."""
    error = LLMError("my words").about(provider="groq", request_id=None)
    assert str(error) == "my words"
    assert error.info.provider == "groq"


def test_a_key_is_taken_out() -> None:
    """Providers like to quote the key they refuse."""
    info = ErrorInfo(status=401, code="sk-1", message="Incorrect API key: sk-1")
    error = ProviderError(info=info).redact("sk-1")
    assert "sk-1" not in f"{error!r} {error} {error.info}"
    assert str(error) == "the provider answered 401 ***: Incorrect API key: ***"


def test_no_key_takes_nothing_out() -> None:
    """An empty key is in every text, and hides none."""
    error = LLMError("words").redact("")
    assert str(error) == "words"
    assert LLMError().redact("x").info == ErrorInfo()


def test_errors_travel_between_processes() -> None:
    """Copies keep class, text and info."""
    error = ContextTooLong(info=ErrorInfo(status=400, code="c"))
    again: Any = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (type(again), str(again), again.info) == (
        ContextTooLong,
        str(error),
        error.info,
    )


def test_the_tree_splits_by_who_erred() -> None:
    """Callers can catch a branch."""
    assert issubclass(ContextTooLong, BadRequest)
    assert issubclass(BadRequest, ProviderError)
    assert issubclass(SchemaError, ConfigurationError)
    assert issubclass(LLMError, AgentFlowError)
