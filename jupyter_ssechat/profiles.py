"""A name or an address → an upstream: the model servers that people use, and how each likes to be asked."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass

from .deadlines import Deadlines
from .dialects import Manners
from .errors import BadInput, UpstreamError
from .exchange import Patience
from .model_server import ModelServer
from .transport import sendable_in_header
from .upstream import Demo, Upstream

_LOOK_SECONDS = 2.0
_NO_TEMPLATE_THINKING = {"chat_template_kwargs": {"enable_thinking": False}}
_DISABLED = {"thinking": {"type": "disabled"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One kind of model server: where it is, what it speaks, and where its key is kept.

    `url` is "" where everybody has their own. `key_env` is "" for a server that needs no key. `manners` are those
    of the dialect if None. `note` is what a user should know, in a sentence or two.
    """

    name: str
    title: str
    url: str
    key_env: str = ""
    dialect: str = "openai_chat"
    manners: Manners | None = None
    model: str = "MODEL"
    note: str = ""

    @property
    def local(self) -> bool:
        """Whether it runs on this machine, at its customary port."""
        return self.url.startswith("http://127.0.0.1:")


_LOCAL = (
    Profile(
        name="ollama",
        title="Ollama",
        url="http://127.0.0.1:11434/v1",
        model="qwen3:8b",
        note="Without a model, the only one that is pulled is used.",
    ),
    Profile(
        name="vllm",
        title="vLLM",
        url="http://127.0.0.1:8000/v1",
        manners=Manners(thinking_off=_NO_TEMPLATE_THINKING, prefill="continue_final_message"),
        note="Start it with --reasoning-parser to have thinking and answer told apart.",
    ),
    Profile(name="lmstudio", title="LM Studio", url="http://127.0.0.1:1234/v1"),
    Profile(
        name="llamacpp",
        title="llama.cpp",
        url="http://127.0.0.1:8080/v1",
        manners=Manners(thinking_off=_NO_TEMPLATE_THINKING, prefill="trailing"),
        note="It is llama-server; it has one model, so none need be named.",
    ),
    Profile(
        name="sglang",
        title="SGLang",
        url="http://127.0.0.1:30000/v1",
        manners=Manners(thinking_off=_NO_TEMPLATE_THINKING, prefill="continue_final_message"),
    ),
    Profile(name="tgi", title="Text Generation Inference", url="http://127.0.0.1:3000/v1", model="tgi"),
    Profile(
        name="dynamo",
        title="NVIDIA Dynamo",
        url="http://127.0.0.1:8000/v1",
        manners=Manners(thinking_off=_NO_TEMPLATE_THINKING),
        note="Its customary port is that of vLLM; `%chat use auto` calls both vllm.",
    ),
    Profile(
        name="litellm",
        title="litellm proxy",
        url="http://127.0.0.1:4000/v1",
        note="If it has a master key, name the variable that holds it with --key-env.",
    ),
)

_HOSTED = (
    Profile(
        name="openai",
        title="OpenAI, chat completions",
        url="https://api.openai.com/v1",
        key_env="OPENAI_API_KEY",
        manners=Manners(max_tokens="max_completion_tokens"),
        model="gpt-5-mini",
        note="Its thinking is not shown on this wire; see openai-responses.",
    ),
    Profile(
        name="openai-responses",
        title="OpenAI, Responses",
        url="https://api.openai.com/v1/responses",
        key_env="OPENAI_API_KEY",
        dialect="openai_responses",
        model="gpt-5-mini",
        note='With `--option reasoning \'{"summary": "auto"}\'` it tells a summary of its thinking; with '
        "`--option background true` a broken stream is taken up where it broke.",
    ),
    Profile(
        name="anthropic",
        title="Anthropic",
        url="https://api.anthropic.com/v1/messages",
        key_env="ANTHROPIC_API_KEY",
        dialect="anthropic_messages",
        model="claude-sonnet-4-5",
        note="Thinking is off unless you ask for it with `--effort low|medium|high`.",
    ),
    Profile(
        name="azure",
        title="Azure OpenAI",
        url="",
        key_env="AZURE_OPENAI_API_KEY",
        manners=Manners(max_tokens="max_completion_tokens", key_header="api-key"),
        model="DEPLOYMENT",
        note="Give the address of your resource, https://RESOURCE.openai.azure.com/openai/v1; the model is the "
        "name of the deployment.",
    ),
    Profile(
        name="deepseek",
        title="DeepSeek API",
        url="https://api.deepseek.com/beta",
        key_env="DEEPSEEK_API_KEY",
        manners=Manners(thinking_off=_DISABLED, prefill="prefix", json="object"),
        model="deepseek-chat",
        note="The address ends in /beta, since only there an answer that was cut can be continued from its text.",
    ),
    Profile(
        name="dashscope",
        title="Qwen on DashScope",
        url="https://dashscope.aliyuncs.com/compatible-mode/v1",
        key_env="DASHSCOPE_API_KEY",
        manners=Manners(thinking_off={"enable_thinking": False}, prefill="partial"),
        model="qwen-plus",
        note="Thinking is turned on by `--option enable_thinking true`.",
    ),
    Profile(
        name="moonshot",
        title="Moonshot (Kimi)",
        url="https://api.moonshot.cn/v1",
        key_env="MOONSHOT_API_KEY",
        manners=Manners(prefill="partial"),
    ),
    Profile(
        name="zhipu",
        title="Zhipu (GLM)",
        url="https://open.bigmodel.cn/api/paas/v4",
        key_env="ZHIPUAI_API_KEY",
        manners=Manners(thinking_off=_DISABLED),
    ),
    Profile(
        name="openrouter",
        title="OpenRouter",
        url="https://openrouter.ai/api/v1",
        key_env="OPENROUTER_API_KEY",
        manners=Manners(
            thinking_off={"reasoning": {"enabled": False}}, effort=("reasoning", "effort"), prefill="trailing"
        ),
        model="VENDOR/MODEL",
    ),
    Profile(
        name="groq",
        title="Groq",
        url="https://api.groq.com/openai/v1",
        key_env="GROQ_API_KEY",
        manners=Manners(max_tokens="max_completion_tokens"),
    ),
    Profile(
        name="mistral",
        title="Mistral",
        url="https://api.mistral.ai/v1",
        key_env="MISTRAL_API_KEY",
        manners=Manners(thinking_off={"prompt_mode": None}, prefill="prefix", asks_usage=False),
        model="magistral-small-latest",
    ),
    Profile(
        name="gemini",
        title="Gemini, by its OpenAI-compatible address",
        url="https://generativelanguage.googleapis.com/v1beta/openai",
        key_env="GEMINI_API_KEY",
        model="gemini-2.5-flash",
    ),
    Profile(name="xai", title="xAI", url="https://api.x.ai/v1", key_env="XAI_API_KEY"),
    Profile(name="together", title="Together", url="https://api.together.xyz/v1", key_env="TOGETHER_API_KEY"),
    Profile(
        name="fireworks",
        title="Fireworks",
        url="https://api.fireworks.ai/inference/v1",
        key_env="FIREWORKS_API_KEY",
    ),
    Profile(
        name="siliconflow",
        title="SiliconFlow",
        url="https://api.siliconflow.cn/v1",
        key_env="SILICONFLOW_API_KEY",
        manners=Manners(thinking_off={"enable_thinking": False}),
    ),
    Profile(
        name="huggingface",
        title="Hugging Face, inference providers",
        url="https://router.huggingface.co/v1",
        key_env="HF_TOKEN",
        model="VENDOR/MODEL",
    ),
)

PROFILES: Mapping[str, Profile] = {profile.name: profile for profile in (*_LOCAL, *_HOSTED)}


def open_upstream(
    spec: str,
    *,
    url: str | None = None,
    model: str | None = None,
    api_key_env: str | None = None,
    api_key: str | None = None,
    dialect: str | None = None,
    pace: float = 1.0,
    deadlines: Deadlines | None = None,
    patience: Patience | None = None,
) -> Upstream:
    """Open the upstream that `spec` names: ``demo``, a profile, or the address of a model server.

    `url` is the address of a server of the profile's kind elsewhere. The key is read from the environment
    variable `api_key_env`, or from the profile's own if that is set, and sent to this server alone. `dialect`
    "auto", or None, is told by the address and by the first event. Raises BadInput, one line, for what cannot be
    opened.
    """
    if spec == "demo":
        return Demo(pace)
    must_be_upstream(spec)
    profile = PROFILES.get(spec)
    return ModelServer(
        _address(profile, url) if profile else spec,
        model=model,
        dialect=dialect or (profile.dialect if profile else None),
        manners=profile.manners if profile and dialect in (None, profile.dialect) else None,
        api_key=_checked(api_key, "the key") if api_key else _key_from(api_key_env, profile, url),
        deadlines=deadlines,
        patience=patience,
    )


def must_be_upstream(spec: str) -> None:
    """BadInput for what names no upstream."""
    if spec not in ("demo", *PROFILES) and not spec.lower().startswith(("http://", "https://")):
        raise BadInput(
            f"{spec!r} is not an upstream; expected demo, an address such as http://127.0.0.1:11434/v1, or one"
            f" of {', '.join(PROFILES)}"
        )


def key_of(spec: str, *, url: str | None = None, api_key_env: str | None = None) -> str | None:
    """The key of the upstream that `spec` names, from its environment variable; None where it needs none."""
    return _key_from(api_key_env, PROFILES.get(spec), url)


def key_wanted(spec: str, url: str | None = None) -> str | None:
    """The environment variable of a profile whose key is needed and not set; None where nothing is wanted."""
    profile = PROFILES.get(spec)
    if profile is None or not profile.key_env or url not in (None, profile.url):
        return None
    return None if os.environ.get(profile.key_env, "").strip() else profile.key_env


async def local_servers() -> list[tuple[Profile, list[str]]]:
    """Look for model servers on this machine at their customary ports; each with the models that it offers."""
    by_url = {profile.url: profile for profile in reversed(_LOCAL)}  # of two at one port the first counts
    looked = [profile for profile in _LOCAL if by_url[profile.url] is profile]
    found = await asyncio.gather(*map(_models_of, looked))
    return [(profile, models) for profile, models in zip(looked, found, strict=True) if models is not None]


async def _models_of(profile: Profile) -> list[str] | None:
    try:
        async with asyncio.timeout(_LOOK_SECONDS):
            return await ModelServer(profile.url, dialect=profile.dialect).models() or None
    except (UpstreamError, TimeoutError):
        return None


def _address(profile: Profile, url: str | None) -> str:
    if url or profile.url:
        return url or profile.url
    raise BadInput(f"{profile.name} has no address of its own; give yours as its url")


def _key_from(name: str | None, profile: Profile | None, url: str | None) -> str | None:
    if name is not None:
        key = os.environ.get(name, "").strip()
        if not key:
            raise BadInput(f"the environment variable {name} is empty or not set; put the API key into it")
        return _checked(key, f"the environment variable {name}")
    # The profile's key is for the profile's own address, and goes nowhere else unasked.
    if profile is None or not profile.key_env or (url not in (None, profile.url) and profile.url):
        return None
    key = os.environ.get(profile.key_env, "").strip()
    if not key:
        raise BadInput(f"{profile.name} needs a key; set the environment variable {profile.key_env}")
    return _checked(key, f"the environment variable {profile.key_env}")


def _checked(key: str, where: str) -> str:
    if not sendable_in_header(key):
        raise BadInput(f"{where} holds characters that no API key has; set it anew")
    return key


__all__ = [
    "PROFILES",
    "Profile",
    "key_of",
    "key_wanted",
    "local_servers",
    "must_be_upstream",
    "open_upstream",
]
