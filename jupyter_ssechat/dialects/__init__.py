"""Questions → calls, events → patches: one pure file for each wire, named after the wire; one contract for all."""

from __future__ import annotations

from .anthropic_messages import AnthropicMessages
from .body import Body
from .deepseek import DeepSeek
from .delta_v1 import DeltaV1
from .dialect import Abilities, Call, Dialect, Manners
from .openai_chat import OpenAIChat
from .openai_responses import OpenAIResponses
from .plain_content import PlainContent
from .plain_text import PlainText
from .registry import DIALECTS

__all__ = [
    "DIALECTS",
    "Abilities",
    "AnthropicMessages",
    "Body",
    "Call",
    "DeepSeek",
    "DeltaV1",
    "Dialect",
    "Manners",
    "OpenAIChat",
    "OpenAIResponses",
    "PlainContent",
    "PlainText",
]
