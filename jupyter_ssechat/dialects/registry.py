"""The dialects by name, in the order in which they are asked whether a stream is theirs."""

from __future__ import annotations

from .anthropic_messages import AnthropicMessages
from .deepseek import DeepSeek
from .delta_v1 import DeltaV1
from .dialect import Dialect
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .plain_content import PlainContent
from .plain_text import PlainText

DIALECTS: dict[str, type[Dialect]] = {
    dialect.name: dialect
    for dialect in (
        DeltaV1,
        OpenAIResponses,
        AnthropicMessages,
        OpenAIChat,
        PlainContent,
        DeepSeek,
        PlainText,
    )
}

__all__ = ["DIALECTS"]
