"""The dialects by name, in the order in which they are asked whether a stream is theirs."""

from __future__ import annotations

from .anthropic_messages import AnthropicMessages
from .deepseek import DeepSeek
from .dialect import Dialect
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses

DIALECTS: dict[str, type[Dialect]] = {
    dialect.name: dialect for dialect in (OpenAIResponses, AnthropicMessages, OpenAIChat, DeepSeek)
}

__all__ = ["DIALECTS"]
